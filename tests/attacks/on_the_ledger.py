"""Attacks on the place in the ledger: proofs, checkpoints, witnesses."""

from contracts.wire.canonical import canonical_bytes
from tests.attacks.forging import (
    STRANGER,
    WITNESS,
    WITNESS_KEY,
    WITNESSED_AT_S,
    Attempt,
    MemoryLog,
    attempt_on,
    cosigned_document,
    cosigned_proof,
    flip_base64,
    logged,
    sealed,
    with_trust,
)
from tests.attacks.genuine import LOG, Genuine
from tests.fakes.ledger import make_log

__all__ = [
    "another_root_of_the_same_size",
    "changed_proof",
    "checkpoint_by_another_key",
    "cosigned_in_one_proof_alone",
    "false_cosignature",
    "index_beyond_the_ledger",
    "last_checkpoint_by_another_key",
    "last_checkpoint_that_is_none",
    "ledger_of_a_stranger",
    "moved_index",
    "no_ledger_trusted",
    "record_before_its_start",
    "record_that_was_never_logged",
    "rewritten_root",
    "shortened_proof",
    "shorter_ledger",
    "small_order_key_of_a_ledger",
    "start_where_its_number_cannot_stand",
    "swapped_proofs",
    "two_checkpoints_in_one_bundle",
    "two_roots_in_one_bundle",
    "witness_among_the_ledgers",
]


def shorter_ledger(genuine: Genuine) -> Attempt:
    return with_trust(genuine, checkpoint=MemoryLog([*genuine.leaves, genuine.leaves[0]]).checkpoint)


def another_root_of_the_same_size(genuine: Genuine) -> Attempt:
    return with_trust(genuine, checkpoint=MemoryLog([*genuine.leaves[:-1], genuine.leaves[0]]).checkpoint)


def two_roots_in_one_bundle(genuine: Genuine) -> Attempt:
    document, started = genuine.document, genuine.positions[0]
    other = MemoryLog([*genuine.leaves[:-1], genuine.leaves[0]])
    document["proofs"]["started"] = other.proof(started)
    return attempt_on(genuine, document)


def two_checkpoints_in_one_bundle(genuine: Genuine) -> Attempt:
    document, started = genuine.document, genuine.positions[0]
    document["proofs"]["started"] = MemoryLog([*genuine.leaves, genuine.leaves[0]]).proof(started)
    return attempt_on(genuine, document)


def cosigned_in_one_proof_alone(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["proofs"]["final"] = cosigned_proof(document["proofs"]["final"], WITNESSED_AT_S, WITNESS_KEY)
    return attempt_on(genuine, document)


def record_before_its_start(genuine: Genuine) -> Attempt:
    return logged(genuine, genuine.document, swap=True)


def start_where_its_number_cannot_stand(genuine: Genuine) -> Attempt:
    return logged(genuine, genuine.document, at=9)


def rewritten_root(genuine: Genuine) -> Attempt:
    document = genuine.document
    for name, proof in document["proofs"].items():
        head, _, note = proof.partition("\n\n")
        lines = note.split("\n")
        lines[2] = flip_base64(lines[2], 3)
        document["proofs"][name] = head + "\n\n" + "\n".join(lines)
    return attempt_on(genuine, document)


def checkpoint_by_another_key(genuine: Genuine) -> Attempt:
    document = genuine.document
    forged = MemoryLog(genuine.leaves, make_log(LOG.verifier.name))
    started, final = genuine.positions
    document["proofs"] = {"started": forged.proof(started), "final": forged.proof(final)}
    return attempt_on(genuine, document)


def last_checkpoint_by_another_key(genuine: Genuine) -> Attempt:
    return with_trust(genuine, checkpoint=MemoryLog(genuine.leaves, make_log(LOG.verifier.name)).checkpoint)


def last_checkpoint_that_is_none(genuine: Genuine) -> Attempt:
    return with_trust(genuine, checkpoint="nothing")


def false_cosignature(genuine: Genuine) -> Attempt:
    document = cosigned_document(genuine, WITNESSED_AT_S, STRANGER)
    return attempt_on(genuine, document, trust=with_trust(genuine, witnesses=(WITNESS.encode(),)).trust)


def ledger_of_a_stranger(genuine: Genuine) -> Attempt:
    document = genuine.document
    other = MemoryLog(genuine.leaves, make_log("weos-engine/ledger/other"))
    started, final = genuine.positions
    document["proofs"] = {"started": other.proof(started), "final": other.proof(final)}
    return attempt_on(genuine, document)


def no_ledger_trusted(genuine: Genuine) -> Attempt:
    return with_trust(genuine, logs=())


def changed_proof(genuine: Genuine) -> Attempt:
    document = genuine.document
    lines = document["proofs"]["final"].split("\n")
    lines[2] = flip_base64(lines[2], 3)
    document["proofs"]["final"] = "\n".join(lines)
    return attempt_on(genuine, document)


def shortened_proof(genuine: Genuine) -> Attempt:
    document = genuine.document
    lines = document["proofs"]["started"].split("\n")
    del lines[2]
    document["proofs"]["started"] = "\n".join(lines)
    return attempt_on(genuine, document)


def moved_index(genuine: Genuine) -> Attempt:
    document, final = genuine.document, genuine.positions[1]
    document["proofs"]["final"] = document["proofs"]["final"].replace(f"index {final}\n", f"index {final + 1}\n")
    return attempt_on(genuine, document)


def index_beyond_the_ledger(genuine: Genuine) -> Attempt:
    document, final = genuine.document, genuine.positions[1]
    document["proofs"]["final"] = document["proofs"]["final"].replace(f"index {final}\n", "index 99\n")
    return attempt_on(genuine, document)


def swapped_proofs(genuine: Genuine) -> Attempt:
    document = genuine.document
    proofs = document["proofs"]
    document["proofs"] = {"started": proofs["final"], "final": proofs["started"]}
    return attempt_on(genuine, document)


def record_that_was_never_logged(genuine: Genuine) -> Attempt:
    """A second, signed record of the same execution: genuine in all but its place."""
    document, payload = genuine.document, genuine.payload("record")
    payload["predicate"]["finished_at"] = "2026-01-31T13:00:00.000Z"
    document["record"] = sealed(canonical_bytes(payload), genuine.signer)
    return attempt_on(genuine, document)


def small_order_key_of_a_ledger(genuine: Genuine) -> Attempt:
    return with_trust(genuine, logs=("weak+ab8fd6a7+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",))


def witness_among_the_ledgers(genuine: Genuine) -> Attempt:
    return with_trust(genuine, logs=(*genuine.trust.logs, WITNESS.encode()))
