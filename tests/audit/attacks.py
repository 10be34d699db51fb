"""What somebody may do to a genuine bundle, and the code that the auditors' page names for it.

Each attack is a function from a genuine bundle to an attempt. Attackers differ in what they have: the file alone, or
the engine's and the ledger's own keys; who has those tells a lie that is signed, logged and proven.
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contracts.base import canonical_bytes, sha256_digest
from contracts.bundle import Bundle
from contracts.envelope import Envelope, seal
from contracts.execution_plan import ExecutionPlan
from contracts.ledger_proof import Checkpoint, InclusionProof, LeafKind, build_leaf
from contracts.merkle import hash_leaf, new_nodes, prove_inclusion, root_of
from contracts.note import cosign, sign_note, verifier_of
from contracts.trust import Trust, TrustedKey
from supervisor.adapters.keys import FileSigner
from supervisor.adapters.ledger import LogIdentity
from tests.audit.genuine import FIRST_KEYRING, LATER_MANIFEST, LOG, SECOND_KEYRING, SECOND_ROOT, Genuine
from tests.factories import make_signer
from tests.fakes import make_log
from tests.releases import ROOT, make_manifest, make_revocation, root_key, sealed_manifest, sealed_revocation

__all__ = ["ANY", "DEVELOPMENT_ONLY", "RELEASED_ONLY", "Attack", "Attempt", "MemoryLog", "attempt_on"]

STRANGER = make_signer()
WITNESS_KEY = make_signer()
WITNESS = verifier_of("witness.example", WITNESS_KEY.key, witness=True)
# SubjectPublicKeyInfo of the identity point.
WEAK_KEY = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
WITNESSED_AT_S = 1_780_000_000


@dataclass(frozen=True)
class Attempt:
    """What the auditor is handed, and what they hold against it."""

    data: bytes
    trust: Trust
    nonce: str | None = None
    revocations: tuple[bytes, ...] = ()


Attack = Callable[[Genuine], Attempt]


def attempt_on(genuine: Genuine, document: dict[str, Any], **changes: Any) -> Attempt:
    """Return an attempt with a changed document, held against the genuine one's trust."""
    return replace(Attempt(canonical_bytes(document), genuine.trust), **changes)


def _trust(genuine: Genuine, **changes: Any) -> Attempt:
    return Attempt(genuine.data, genuine.trust.model_copy(update=changes))


def _replaced(genuine: Genuine, old: str, new: str) -> Attempt:
    text = genuine.data.decode()
    assert old in text
    return Attempt(text.replace(old, new, 1).encode(), genuine.trust)


class MemoryLog:
    """A ledger of whoever has the key, with whatever leaves they like."""

    def __init__(self, leaves: Sequence[bytes], identity: LogIdentity = LOG) -> None:
        self.identity = identity
        self.size = len(leaves)
        self._nodes: dict[tuple[int, int], bytes] = {}
        for size, leaf in enumerate(leaves):
            for level, index, node in new_nodes(size, hash_leaf(leaf), self.read):
                self._nodes[level, index] = node

    def read(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    @property
    def checkpoint(self) -> str:
        text = Checkpoint(self.identity.verifier.name, self.size, root_of(self.size, self.read)).text
        return sign_note(text, self.identity.verifier, self.identity.signer)

    def proof(self, index: int) -> str:
        return InclusionProof(index, prove_inclusion(index, self.size, self.read), self.checkpoint).encode()


def _leaf(document: dict[str, Any], kind: LeafKind) -> bytes:
    envelope = canonical_bytes({name: value for name, value in document.items() if value is not None})
    parsed = Envelope.parse(envelope)
    stated = json.loads(base64.b64decode(parsed.payload))["predicate"]
    return build_leaf(kind, stated["seq"], stated["execution_id"], envelope, stated["manifest"]).canonical()


def _logged(genuine: Genuine, document: dict[str, Any], *, swap: bool = False, at: int | None = None) -> Attempt:
    """Put the statements of a document into a ledger signed with the genuine one's key."""
    leaves = list(genuine.leaves)
    started, final = genuine.positions
    if swap:
        started, final = final, started
    if at is not None:
        leaves += [leaves[0]] * (at + 2)
        started, final = at, at + 1
    leaves[started] = _leaf(document["started"], "started")
    leaves[final] = _leaf(document["record"], "final")
    log = MemoryLog(leaves, genuine.log)
    document["proofs"] = {"started": log.proof(started), "final": log.proof(final)}
    return attempt_on(genuine, document)


def _sealed(payload: bytes, *signers: FileSigner) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(seal(payload, *signers))
    return document


def _lie(genuine: Genuine, change: Callable[[dict[str, Any]], object], name: str = "record") -> Attempt:
    """Whoever has the engine's key and the ledger's states something else, and logs it."""
    document, payload = genuine.document, genuine.payload(name)
    change(payload["predicate"])
    document[name] = _sealed(canonical_bytes(payload), genuine.signer)
    return _logged(genuine, document)


def _signed_bytes(genuine: Genuine, old: bytes, new: bytes) -> Attempt:
    """The engine's own key over a payload in another spelling."""
    document = genuine.document
    payload = base64.b64decode(document["record"]["payload"])
    assert old in payload
    document["record"] = _sealed(payload.replace(old, new, 1), genuine.signer)
    return attempt_on(genuine, document)


def _flip_base64(text: str, position: int) -> str:
    other = "A" if text[position] != "A" else "B"
    return text[:position] + other + text[position + 1 :]


# What the file alone allows.


def bit_flip_in_the_record(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["payload"] = _flip_base64(document["record"]["payload"], 400)
    return attempt_on(genuine, document)


def bit_flip_in_the_statement_of_the_start(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["started"]["payload"] = _flip_base64(document["started"]["payload"], 200)
    return attempt_on(genuine, document)


def swapped_signatures(genuine: Genuine) -> Attempt:
    document = genuine.document
    record, started = document["record"], document["started"]
    record["signatures"], started["signatures"] = started["signatures"], record["signatures"]
    return attempt_on(genuine, document)


def swapped_statements(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"], document["started"] = document["started"], document["record"]
    return attempt_on(genuine, document)


def start_of_another_execution(genuine: Genuine) -> Attempt:
    def change(predicate: dict[str, Any]) -> None:
        predicate.update(execution_id="exec_" + "f" * 32)

    return _lie(genuine, change, "started")


def start_with_another_number(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate.update(seq=3), "started")


def start_with_another_plan(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate.update(plan_digest="sha256:" + "0" * 64), "started")


def start_without_the_nonce(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate.update(nonce=None), "started")


def start_at_another_time(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate.update(accepted_at="2026-01-31T11:00:00.000Z"), "started")


def start_with_another_manifest(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate.update(manifest="sha256:" + "0" * 64), "started")


def start_about_something_else(genuine: Genuine) -> Attempt:
    document, payload = genuine.document, genuine.payload("started")
    payload["subject"][0]["digest"]["sha256"] = "0" * 64
    document["started"] = _sealed(canonical_bytes(payload), genuine.signer)
    return _logged(genuine, document)


def start_of_another_version(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate.update(engine_version="0.9.0"), "started")


def answer_to_another_challenge(genuine: Genuine) -> Attempt:
    return Attempt(genuine.data, genuine.trust, nonce="auditor-8")


def manifest_that_nobody_names(genuine: Genuine) -> Attempt:
    document = genuine.document
    other = _sealed(b"{}", ROOT)
    document["manifest" if document["manifest"] is None else "started_manifest"] = other
    return attempt_on(genuine, document)


def keyrings_without_a_manifest(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["keyrings"] = [_sealed(b"{}", ROOT)]
    return attempt_on(genuine, document)


def manifest_in_another_base64(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["started_manifest"] = _sealed(b"{}", ROOT) | {"payload": "e30"}
    return attempt_on(genuine, document)


def another_version(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate.update(engine_version="0.9.0"))


def manifest_of_another_version(genuine: Genuine) -> Attempt:
    document = genuine.document
    manifest = LATER_MANIFEST.model_copy(update={"public_key": genuine.signer.public_key})
    document["manifest"] = json.loads(sealed_manifest(manifest, SECOND_ROOT))
    return attempt_on(genuine, document)


def home_made_manifest(genuine: Genuine) -> Attempt:
    document = genuine.document
    manifest = make_manifest().model_copy(update={"public_key": STRANGER.public_key})
    document["manifest"] = json.loads(sealed_manifest(manifest, STRANGER))
    document["record"] = _sealed(canonical_bytes(genuine.payload("record")), STRANGER)
    document["started"] = _sealed(canonical_bytes(genuine.payload("started")), STRANGER)
    return _logged(genuine, document)


def no_manifest(genuine: Genuine) -> Attempt:
    return attempt_on(genuine, genuine.document | {"manifest": None})


def revocation_of(genuine: Genuine, from_index: int) -> bytes:
    del genuine
    return sealed_revocation(make_revocation(from_index=from_index), ROOT)


def revoked(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["revocations"] = [json.loads(revocation_of(genuine, genuine.positions[1]))]
    return attempt_on(genuine, document)


def revoked_as_the_auditor_knows(genuine: Genuine) -> Attempt:
    return Attempt(genuine.data, genuine.trust, revocations=(revocation_of(genuine, 0),))


def revocation_by_a_stranger(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["revocations"] = [json.loads(sealed_revocation(make_revocation(from_index=9), STRANGER))]
    return attempt_on(genuine, document)


def older_than_its_manifest(genuine: Genuine) -> Attempt:
    document = genuine.document
    late = make_manifest().model_copy(update={"created_at": "2026-02-02T00:00:00.000Z"})
    document["manifest"] = json.loads(sealed_manifest(late, SECOND_ROOT))
    manifest = sha256_digest(base64.b64decode(document["manifest"]["payload"]))
    for name in ("record", "started"):
        payload = genuine.payload(name)
        payload["predicate"]["manifest"] = manifest
        document[name] = _sealed(canonical_bytes(payload), genuine.signer)
    return _logged(genuine, document)


def manifest_by_a_root_key_out_of_use(genuine: Genuine) -> Attempt:
    document = genuine.document
    late = make_manifest().model_copy(update={"created_at": "2026-02-02T00:00:00.000Z"})
    document["manifest"] = json.loads(sealed_manifest(late, ROOT))
    return attempt_on(genuine, document)


def older_keyring(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["keyrings"] = document["keyrings"][:1]
    return attempt_on(genuine, document, trust=genuine.trust.model_copy(update={"root": SECOND_KEYRING}))


def another_keyring_of_the_same_number(genuine: Genuine) -> Attempt:
    other = FIRST_KEYRING.model_copy(update={"keys": (root_key(STRANGER),)})
    return _trust(genuine, root=other)


def forged_older_keyring(genuine: Genuine) -> Attempt:
    document = genuine.document
    payload = base64.b64decode(document["keyrings"][0]["payload"])
    document["keyrings"][0] = _sealed(payload, STRANGER)
    return attempt_on(genuine, document, trust=genuine.trust.model_copy(update={"root": SECOND_KEYRING}))


# The ledger.


def shorter_ledger(genuine: Genuine) -> Attempt:
    return _trust(genuine, checkpoint=MemoryLog([*genuine.leaves, genuine.leaves[0]]).checkpoint)


def another_root_of_the_same_size(genuine: Genuine) -> Attempt:
    return _trust(genuine, checkpoint=MemoryLog([*genuine.leaves[:-1], genuine.leaves[0]]).checkpoint)


def two_roots_in_one_bundle(genuine: Genuine) -> Attempt:
    document, started = genuine.document, genuine.positions[0]
    other = MemoryLog([*genuine.leaves[:-1], genuine.leaves[0]])
    document["proofs"]["started"] = other.proof(started)
    return attempt_on(genuine, document)


def two_checkpoints_in_one_bundle(genuine: Genuine) -> Attempt:
    document, started = genuine.document, genuine.positions[0]
    document["proofs"]["started"] = MemoryLog([*genuine.leaves, genuine.leaves[0]]).proof(started)
    return attempt_on(genuine, document)


def _cosign(proof: str, at_s: int, signer: FileSigner) -> str:
    head, _, checkpoint = proof.partition("\n\n")
    return head + "\n\n" + cosign(checkpoint, WITNESS, signer, at_s=at_s)


def cosigned_in_one_proof_alone(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["proofs"]["final"] = _cosign(document["proofs"]["final"], WITNESSED_AT_S, WITNESS_KEY)
    return attempt_on(genuine, document)


def record_before_its_start(genuine: Genuine) -> Attempt:
    return _logged(genuine, genuine.document, swap=True)


def start_where_its_number_cannot_stand(genuine: Genuine) -> Attempt:
    return _logged(genuine, genuine.document, at=9)


def rewritten_root(genuine: Genuine) -> Attempt:
    document = genuine.document
    for name, proof in document["proofs"].items():
        head, _, note = proof.partition("\n\n")
        lines = note.split("\n")
        lines[2] = _flip_base64(lines[2], 3)
        document["proofs"][name] = head + "\n\n" + "\n".join(lines)
    return attempt_on(genuine, document)


def checkpoint_by_another_key(genuine: Genuine) -> Attempt:
    document = genuine.document
    forged = MemoryLog(genuine.leaves, make_log(LOG.verifier.name))
    started, final = genuine.positions
    document["proofs"] = {"started": forged.proof(started), "final": forged.proof(final)}
    return attempt_on(genuine, document)


def last_checkpoint_by_another_key(genuine: Genuine) -> Attempt:
    return _trust(genuine, checkpoint=MemoryLog(genuine.leaves, make_log(LOG.verifier.name)).checkpoint)


def last_checkpoint_that_is_none(genuine: Genuine) -> Attempt:
    return _trust(genuine, checkpoint="nothing")


def _cosigned(genuine: Genuine, at_s: int, signer: FileSigner) -> dict[str, Any]:
    document = genuine.document
    for name, proof in document["proofs"].items():
        document["proofs"][name] = _cosign(proof, at_s, signer)
    return document


def false_cosignature(genuine: Genuine) -> Attempt:
    document = _cosigned(genuine, WITNESSED_AT_S, STRANGER)
    return attempt_on(genuine, document, trust=_trust(genuine, witnesses=(WITNESS.encode(),)).trust)


def ledger_of_a_stranger(genuine: Genuine) -> Attempt:
    document = genuine.document
    other = MemoryLog(genuine.leaves, make_log("weos-engine/ledger/other"))
    started, final = genuine.positions
    document["proofs"] = {"started": other.proof(started), "final": other.proof(final)}
    return attempt_on(genuine, document)


def no_ledger_trusted(genuine: Genuine) -> Attempt:
    return _trust(genuine, logs=())


def changed_proof(genuine: Genuine) -> Attempt:
    document = genuine.document
    lines = document["proofs"]["final"].split("\n")
    lines[2] = _flip_base64(lines[2], 3)
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
    document["record"] = _sealed(canonical_bytes(payload), genuine.signer)
    return attempt_on(genuine, document)


# Spellings.


def repeated_key(genuine: Genuine) -> Attempt:
    return _replaced(genuine, "{", '{"schema_version":"weos.bundle/1",')


def not_a_number(genuine: Genuine) -> Attempt:
    return _replaced(genuine, '"weos.bundle/1"', "NaN")


def lone_surrogate(genuine: Genuine) -> Attempt:
    return _replaced(genuine, '"weos.bundle/1"', '"\\ud800"')


def trailing_bits_in_the_signature(genuine: Genuine) -> Attempt:
    document = genuine.document
    signature = document["record"]["signatures"][0]["sig"]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = digits[digits.index(signature[85]) + 1]
    document["record"]["signatures"][0]["sig"] = signature[:85] + last + "=="
    assert base64.b64decode(signature, validate=True) == base64.b64decode(signature[:85] + last + "==", validate=True)
    return attempt_on(genuine, document)


def space_in_the_payload(genuine: Genuine) -> Attempt:
    return _signed_bytes(genuine, b'"seq":', b'"seq": ')


def key_order_in_the_payload(genuine: Genuine) -> Attempt:
    statement = b'"_type":"https://in-toto.io/Statement/v1",'
    document = genuine.document
    payload = base64.b64decode(document["record"]["payload"])
    moved = payload.replace(statement, b"")[:-1] + b"," + statement[:-1] + b"}"
    document["record"] = _sealed(moved, genuine.signer)
    return attempt_on(genuine, document)


def float_in_the_payload(genuine: Genuine) -> Attempt:
    return _signed_bytes(genuine, b'"temperature":0', b'"temperature":0.0')


def negative_zero_in_the_payload(genuine: Genuine) -> Attempt:
    return _signed_bytes(genuine, b'"temperature":0', b'"temperature":-0.0')


def repeated_key_in_the_payload(genuine: Genuine) -> Attempt:
    return _signed_bytes(genuine, b'"seq":2', b'"seq":2,"seq":2')


def proof_with_leading_zero(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["proofs"]["final"] = document["proofs"]["final"].replace("index ", "index 0")
    return attempt_on(genuine, document)


def number_beyond_two_to_53(genuine: Genuine) -> Attempt:
    return _replaced(genuine, '"weos.bundle/1"', "9007199254740993")


def number_beyond_two_to_53_in_the_payload(genuine: Genuine) -> Attempt:
    return _signed_bytes(genuine, b'"seq":2', b'"seq":9007199254740993')


def missing_field(genuine: Genuine) -> Attempt:
    document = genuine.document
    del document["started"]
    return attempt_on(genuine, document)


def extra_field(genuine: Genuine) -> Attempt:
    return attempt_on(genuine, genuine.document | {"trust": {"keys": []}})


def extra_field_in_the_payload(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate.update(verified=True))


def extra_field_in_the_statement_of_the_start(genuine: Genuine) -> Attempt:
    return _signed_started(genuine, lambda predicate: predicate.update(verified=True))


def _signed_started(genuine: Genuine, change: Callable[[dict[str, Any]], object]) -> Attempt:
    document, payload = genuine.document, genuine.payload("started")
    change(payload["predicate"])
    document["started"] = _sealed(canonical_bytes(payload), genuine.signer)
    return attempt_on(genuine, document)


def another_payload_type(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["payloadType"] = "application/json"
    return attempt_on(genuine, document)


def no_signature(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["signatures"] = []
    return attempt_on(genuine, document)


def two_signatures(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["started"]["signatures"] *= 2
    return attempt_on(genuine, document)


def forged_ratio(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate["metrics"].update(tokens_per_watt=99.5))


def forged_plan(genuine: Genuine) -> Attempt:
    return _lie(genuine, lambda predicate: predicate["plan"].update(seed=7))


def plan_of_other_policies(genuine: Genuine) -> Attempt:
    document, record, started = genuine.document, genuine.payload("record"), genuine.payload("started")
    record["predicate"]["plan"]["policies"]["power.toml"] = "sha256:" + "0" * 64
    plan = ExecutionPlan.model_validate_json(json.dumps(record["predicate"]["plan"]))
    digest = plan.canonical_digest()
    for payload in (record, started):
        payload["predicate"]["plan_digest"] = digest
        payload["subject"][0]["digest"]["sha256"] = digest.removeprefix("sha256:")
    document["record"] = _sealed(canonical_bytes(record), genuine.signer)
    document["started"] = _sealed(canonical_bytes(started), genuine.signer)
    return _logged(genuine, document)


def padded(genuine: Genuine) -> Attempt:
    return Attempt(genuine.data + b" " * (Bundle.MAX_BYTES + 1 - len(genuine.data)), genuine.trust)


def large_record(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["payload"] = "A" * (Envelope.MAX_BYTES + 4)
    return attempt_on(genuine, document)


def nested_deeply(genuine: Genuine) -> Attempt:
    return _replaced(genuine, '"weos.bundle/1"', "[" * 40 + "]" * 40)


def small_order_key_of_a_development_version(genuine: Genuine) -> Attempt:
    weak = TrustedKey(engine_version=genuine.trust.keys[0].engine_version, public_key=WEAK_KEY)
    return _trust(genuine, keys=(weak,))


def small_order_key_in_the_manifest(genuine: Genuine) -> Attempt:
    document = genuine.document
    manifest = make_manifest().model_copy(update={"public_key": WEAK_KEY})
    document["manifest"] = json.loads(sealed_manifest(manifest, ROOT))
    return attempt_on(genuine, document)


def small_order_key_of_a_ledger(genuine: Genuine) -> Attempt:
    return _trust(genuine, logs=("weak+ab8fd6a7+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",))


def witness_among_the_ledgers(genuine: Genuine) -> Attempt:
    return _trust(genuine, logs=(*genuine.trust.logs, WITNESS.encode()))


# What changes nothing.


def lie_in_the_key_id(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["signatures"][0]["keyid"] = "somebody else"
    return attempt_on(genuine, document)


def other_spelling_of_the_bundle(genuine: Genuine) -> Attempt:
    text = json.dumps(dict(reversed(genuine.document.items())), indent=3)
    return Attempt(text.replace("weos", "\\u0077eos").encode(), genuine.trust)


def revoked_later(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["revocations"] = [json.loads(revocation_of(genuine, genuine.positions[1] + 1))]
    return attempt_on(genuine, document)


def cosigned(genuine: Genuine) -> Attempt:
    document = _cosigned(genuine, WITNESSED_AT_S, WITNESS_KEY)
    return attempt_on(genuine, document, trust=_trust(genuine, witnesses=(WITNESS.encode(),)).trust)


def cosigned_by_somebody(genuine: Genuine) -> Attempt:
    return attempt_on(genuine, _cosigned(genuine, WITNESSED_AT_S, STRANGER))


def seen_before(genuine: Genuine) -> Attempt:
    return _trust(genuine, checkpoint=MemoryLog(genuine.leaves).checkpoint)


def seen_when_it_was_shorter(genuine: Genuine) -> Attempt:
    return _trust(genuine, checkpoint=MemoryLog(genuine.leaves[:4]).checkpoint)


def another_ledger_seen_before(genuine: Genuine) -> Attempt:
    return _trust(genuine, checkpoint=MemoryLog(genuine.leaves, make_log("another")).checkpoint)


Table = tuple[tuple[Attack, str], ...]

ANY: Table = (
    (bit_flip_in_the_record, "BAD_SIGNATURE"),
    (bit_flip_in_the_statement_of_the_start, "BAD_SIGNATURE"),
    (swapped_signatures, "BAD_SIGNATURE"),
    (swapped_statements, "SCHEMA_VIOLATION"),
    (start_of_another_execution, "ID_MISMATCH"),
    (start_with_another_number, "ID_MISMATCH"),
    (start_with_another_plan, "ID_MISMATCH"),
    (start_without_the_nonce, "ID_MISMATCH"),
    (start_at_another_time, "ID_MISMATCH"),
    (start_with_another_manifest, "ID_MISMATCH"),
    (start_about_something_else, "ID_MISMATCH"),
    (answer_to_another_challenge, "ID_MISMATCH"),
    (manifest_that_nobody_names, "ID_MISMATCH"),
    (forged_plan, "ID_MISMATCH"),
    (another_version, "KEY_VERSION_MISMATCH"),
    (start_of_another_version, "KEY_VERSION_MISMATCH"),
    (shorter_ledger, "ROLLBACK"),
    (another_root_of_the_same_size, "FORK"),
    (two_roots_in_one_bundle, "FORK"),
    (two_checkpoints_in_one_bundle, "INCONSISTENT"),
    (cosigned_in_one_proof_alone, "INCONSISTENT"),
    (record_before_its_start, "INCONSISTENT"),
    (start_where_its_number_cannot_stand, "INCONSISTENT"),
    (rewritten_root, "BAD_CHECKPOINT"),
    (checkpoint_by_another_key, "BAD_CHECKPOINT"),
    (last_checkpoint_by_another_key, "BAD_CHECKPOINT"),
    (false_cosignature, "BAD_CHECKPOINT"),
    (ledger_of_a_stranger, "WRONG_ORIGIN"),
    (no_ledger_trusted, "WRONG_ORIGIN"),
    (changed_proof, "BAD_INCLUSION"),
    (shortened_proof, "BAD_INCLUSION"),
    (moved_index, "BAD_INCLUSION"),
    (index_beyond_the_ledger, "BAD_INCLUSION"),
    (swapped_proofs, "BAD_INCLUSION"),
    (record_that_was_never_logged, "BAD_INCLUSION"),
    (repeated_key, "MALFORMED"),
    (not_a_number, "MALFORMED"),
    (lone_surrogate, "MALFORMED"),
    (trailing_bits_in_the_signature, "MALFORMED"),
    (space_in_the_payload, "MALFORMED"),
    (key_order_in_the_payload, "MALFORMED"),
    (float_in_the_payload, "MALFORMED"),
    (negative_zero_in_the_payload, "MALFORMED"),
    (repeated_key_in_the_payload, "MALFORMED"),
    (proof_with_leading_zero, "MALFORMED"),
    (last_checkpoint_that_is_none, "MALFORMED"),
    (witness_among_the_ledgers, "MALFORMED"),
    (number_beyond_two_to_53, "OUT_OF_RANGE"),
    (number_beyond_two_to_53_in_the_payload, "OUT_OF_RANGE"),
    (missing_field, "SCHEMA_VIOLATION"),
    (extra_field, "SCHEMA_VIOLATION"),
    (extra_field_in_the_payload, "SCHEMA_VIOLATION"),
    (extra_field_in_the_statement_of_the_start, "SCHEMA_VIOLATION"),
    (another_payload_type, "UNSUPPORTED_TYPE"),
    (no_signature, "SIGNATURE_COUNT"),
    (two_signatures, "SIGNATURE_COUNT"),
    (forged_ratio, "METRIC_INCONSISTENT"),
    (padded, "TOO_LARGE"),
    (large_record, "TOO_LARGE"),
    (nested_deeply, "TOO_LARGE"),
    (small_order_key_of_a_ledger, "WEAK_KEY"),
    (lie_in_the_key_id, "VALID"),
    (other_spelling_of_the_bundle, "VALID"),
    (cosigned, "VALID"),
    (cosigned_by_somebody, "VALID"),
    (seen_before, "VALID"),
    (seen_when_it_was_shorter, "VALID"),
    (another_ledger_seen_before, "VALID"),
)
DEVELOPMENT_ONLY: Table = (
    (small_order_key_of_a_development_version, "WEAK_KEY"),
    (keyrings_without_a_manifest, "ID_MISMATCH"),
    (manifest_in_another_base64, "MALFORMED"),
)
RELEASED_ONLY: Table = (
    (manifest_of_another_version, "KEY_VERSION_MISMATCH"),
    (home_made_manifest, "UNTRUSTED_MANIFEST"),
    (no_manifest, "UNTRUSTED_MANIFEST"),
    (revoked, "REVOKED"),
    (revoked_as_the_auditor_knows, "REVOKED"),
    (revocation_by_a_stranger, "BAD_SIGNATURE"),
    (revoked_later, "VALID"),
    (older_than_its_manifest, "OUT_OF_VALIDITY"),
    (manifest_by_a_root_key_out_of_use, "OUT_OF_VALIDITY"),
    (older_keyring, "ROOT_ROLLBACK"),
    (another_keyring_of_the_same_number, "FORK"),
    (forged_older_keyring, "BAD_SIGNATURE"),
    (plan_of_other_policies, "ID_MISMATCH"),
    (small_order_key_in_the_manifest, "WEAK_KEY"),
)
