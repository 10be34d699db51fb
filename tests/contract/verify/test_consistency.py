"""Two checkpoints of a ledger, and what leads from one to the other."""

from collections.abc import Callable

import pytest

from contracts.ledger.bundle import ConsistencyProof
from contracts.ledger.merkle import EMPTY_ROOT
from contracts.ledger.note import cosign, sign_note, verifier_of
from contracts.ledger.proof import Checkpoint
from contracts.verify.checks import CheckFailed
from contracts.verify.consistency import (
    CHECKPOINT_CHECKS,
    CONSISTENCY_CHECKS,
    roots_of_export,
    verify_checkpoint,
    verify_consistency,
)
from contracts.verify.trust import Trust
from tests.attacks.logs import LOG, TRUST, GenuineLog, make_genuine, prove_extension
from tests.factories import make_signer
from tests.fakes.ledger import make_log

WITNESS = make_signer()
WITNESS_NAME = verifier_of("witness.example", WITNESS.key, witness=True)


def verdict(older: str, newer: str, proof: bytes | None, trust: Trust = TRUST) -> str:
    return verify_consistency(older.encode(), newer.encode(), proof, trust).verdict


@pytest.mark.parametrize("first", range(1, 8))
def test_a_log_that_was_extended_is_valid(first: int) -> None:
    log = make_genuine()
    verified = verify_consistency(
        log.checkpoint(first).encode(), log.checkpoint().encode(), prove_extension(log, first, 8), TRUST
    )
    assert verified.verdict == "VALID"
    assert tuple(check.name for check in verified.checks) == CONSISTENCY_CHECKS


def test_equal_and_empty_logs_need_no_proof() -> None:
    log = make_genuine()
    assert verdict(log.checkpoint(), log.checkpoint(), None) == "VALID"
    assert verdict(log.checkpoint(0), log.checkpoint(), None) == "VALID"


def rewritten(log: GenuineLog) -> GenuineLog:
    twin = log.copy()
    twin.entries[0], twin.entries[1] = twin.entries[1], twin.entries[0]
    return twin


CASES: dict[str, tuple[str, Callable[[GenuineLog], tuple[str, str, bytes | None]]]] = {
    "shorter": ("ROLLBACK", lambda log: (log.checkpoint(), log.checkpoint(5), prove_extension(log, 5, 8))),
    "another root": ("FORK", lambda log: (log.checkpoint(), rewritten(log).checkpoint(), None)),
    "rewritten": (
        "INCONSISTENT",
        lambda log: (log.checkpoint(5), rewritten(log).checkpoint(), prove_extension(log, 5, 8)),
    ),
    "no proof": ("INCONSISTENT", lambda log: (log.checkpoint(5), log.checkpoint(), None)),
    "proof of other sizes": (
        "INCONSISTENT",
        lambda log: (log.checkpoint(5), log.checkpoint(), prove_extension(log, 4, 8)),
    ),
    "no checkpoint": ("BAD_CHECKPOINT", lambda log: ("none", log.checkpoint(), None)),
    "too large": ("TOO_LARGE", lambda log: ("x" * 70_000, log.checkpoint(), None)),
    "changed": ("BAD_CHECKPOINT", lambda log: (log.checkpoint().replace("\n8\n", "\n9\n"), log.checkpoint(), None)),
    "another key": ("BAD_CHECKPOINT", lambda log: (log.checkpoint(), log.copy(log=make_log()).checkpoint(), None)),
    "another log": ("WRONG_ORIGIN", lambda log: (log.checkpoint(), log.copy(log=make_log("x")).checkpoint(), None)),
    "no JSON": ("MALFORMED", lambda log: (log.checkpoint(5), log.checkpoint(), b"{")),
    "a proof that is none": ("SCHEMA_VIOLATION", lambda log: (log.checkpoint(5), log.checkpoint(), b"{}")),
}


@pytest.mark.parametrize("name", CASES)
def test_an_attack_gets_its_code(name: str) -> None:
    code, make = CASES[name]
    assert verdict(*make(make_genuine())) == code


def test_hashes_have_one_spelling() -> None:
    log = make_genuine()
    proof = ConsistencyProof.parse(prove_extension(log, 5, 8))
    first = proof.hashes[0]
    # The last two bits before the padding belong to no byte.
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = first[:-2] + digits[digits.index(first[-2]) ^ 1] + "="
    changed = proof.model_copy(update={"hashes": (other, *proof.hashes[1:])})
    assert verdict(log.checkpoint(5), log.checkpoint(), changed.canonical()) == "MALFORMED"


def test_two_trusted_logs_are_still_two() -> None:
    log, other = make_genuine(), make_genuine(log=make_log("elsewhere"))
    trust = TRUST.model_copy(update={"logs": (*TRUST.logs, other.log.verifier.encode())})
    assert verdict(log.checkpoint(), other.checkpoint(), None, trust) == "WRONG_ORIGIN"


def test_a_trusted_witness_is_named() -> None:
    trust = TRUST.model_copy(update={"witnesses": (WITNESS_NAME.encode(),)})
    note = make_genuine().checkpoint()
    alone = verify_checkpoint(note.encode(), trust)
    assert (alone.verdict, alone.checks[-1].message) == ("VALID", "witness: none")
    seen = verify_checkpoint(cosign(note, WITNESS_NAME, WITNESS, at_s=1_700_000_000).encode(), trust)
    assert (seen.verdict, seen.checks[-1].message) == ("VALID", "witness: witness.example at 1700000000")
    assert [check.name for check in seen.checks] == list(CHECKPOINT_CHECKS)


def test_a_false_cosignature_of_a_trusted_witness_is_refused() -> None:
    trust = TRUST.model_copy(update={"witnesses": (WITNESS_NAME.encode(),)})
    log = make_genuine()
    cosigned = cosign(log.checkpoint(5), WITNESS_NAME, WITNESS, at_s=1)
    forged = log.checkpoint() + cosigned.splitlines(keepends=True)[-1]
    assert verify_checkpoint(forged.encode(), trust).verdict == "BAD_CHECKPOINT"


def test_a_trust_with_a_key_that_is_none_is_refused() -> None:
    trust = TRUST.model_copy(update={"logs": (LOG.verifier.encode()[:-4] + "AAAA",)})
    assert verify_checkpoint(make_genuine().checkpoint().encode(), trust).verdict == "MALFORMED"


def test_the_leaves_of_an_export_lead_from_one_to_the_other() -> None:
    log = make_genuine()
    notes = (log.checkpoint(3), log.checkpoint(6))
    roots = roots_of_export(log.lines(), {3, 6})
    assert verify_consistency(notes[0].encode(), notes[1].encode(), roots, TRUST).verdict == "VALID"
    other = roots_of_export(rewritten(log).lines(), {3, 6})
    assert verify_consistency(notes[0].encode(), notes[1].encode(), other, TRUST).verdict == "INCONSISTENT"
    short = roots_of_export(log.lines()[:6], {3, 6})
    assert verify_consistency(notes[0].encode(), notes[1].encode(), short, TRUST).verdict == "INCONSISTENT"
    assert roots_of_export([], {0}) == {0: EMPTY_ROOT}


def test_an_export_with_a_line_of_something_else_leads_nowhere() -> None:
    lines = make_genuine().lines()
    with pytest.raises(CheckFailed) as refused:
        roots_of_export([*lines[:3], b"{}"], {3, 6})
    assert refused.value.code == "SCHEMA_VIOLATION"


def test_the_empty_ledger_has_one_root() -> None:
    empty = Checkpoint(LOG.verifier.name, 0, bytes(32))
    note = sign_note(empty.text, LOG.verifier, LOG.signer)
    assert verify_checkpoint(note.encode(), TRUST).verdict == "BAD_CHECKPOINT"
