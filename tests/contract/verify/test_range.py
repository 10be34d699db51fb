"""Range proofs: between two sizes every accepted execution has its final entry, or that it has none is seen."""

from collections.abc import Callable
from typing import Any

import pytest

from contracts.ledger.proof import Leaf
from contracts.ledger.range_proof import RangeProof, build_range_proof
from contracts.verify.range import RANGE_CHECKS, verify_range
from contracts.verify.trust import Trust
from tests.attacks.logs import TRUST, GenuineLog, execution_id, make_genuine
from tests.factories import make_signer
from tests.fakes.ledger import make_log


def prove(log: GenuineLog, first: int, second: int, size: int | None = None, **changes: Any) -> bytes:
    """The proof from one size to another, led to the checkpoint of `size` entries."""
    newest = len(log.entries) if size is None else size

    def find_final(name: str) -> tuple[int, bytes] | None:
        found = (
            (position, entry.leaf())
            for position, entry in enumerate(log.entries)
            if (entry.execution_id, entry.kind) == (name, "final")
        )
        return next(found, None)

    leaves = tuple(entry.leaf() for entry in log.entries[first:second])
    proof = build_range_proof(first, leaves, log.reader(), find_final, note=log.checkpoint(newest), size=newest)
    return proof.model_copy(update=changes).canonical()


def longer_log() -> GenuineLog:
    log = make_genuine()
    log.start(5)
    log.start(6)
    log.end(6)
    log.end(5)
    return log


def verdict(*pages: bytes, trust: Trust = TRUST, seen: tuple[str, ...] = ()) -> str:
    return verify_range(pages, trust, [each.encode() for each in seen]).verdict


def seen_in(note: str) -> Trust:
    return TRUST.model_copy(update={"checkpoint": note})


@pytest.mark.parametrize("first", range(12))
def test_every_range_of_a_genuine_log_is_valid(first: int) -> None:
    log = longer_log()
    for second in range(max(first, 1), 13):
        seen = (log.checkpoint(first), log.checkpoint(second))
        assert verdict(prove(log, first, second), seen=seen) == "VALID", (first, second)


def test_the_report_names_what_was_shown() -> None:
    verified = verify_range([prove(longer_log(), 4, 9)], TRUST)
    assert [check.name for check in verified.checks] == list(RANGE_CHECKS)
    assert verified.document is not None
    summary = verified.document
    assert (summary.first, summary.second, summary.executions, summary.newest) == (4, 9, 3, 12)


def test_several_proofs_follow_on_each_other() -> None:
    log = longer_log()
    pages = [prove(log, begin, begin + 3) for begin in range(0, 12, 3)]
    assert verdict(*pages, seen=(log.checkpoint(0), log.checkpoint(7), log.checkpoint())) == "VALID"
    assert verdict(pages[0], *pages[2:]) == "INCONSISTENT"
    assert verdict(pages[0], pages[0]) == "INCONSISTENT"
    assert verdict(pages[0], prove(log, 3, 6, size=11)) == "INCONSISTENT"
    assert verdict(pages[0], b"{") == "MALFORMED"


def test_a_result_that_came_after_the_newest_checkpoint_is_missing() -> None:
    log = longer_log()
    verified = verify_range([prove(log, 8, 10, size=11)], TRUST)
    assert verified.verdict == "MISSING_RESULT"
    assert execution_id(5) in verified.checks[-1].message
    assert verdict(prove(log, 8, 10, size=12)) == "VALID"


def test_a_checkpoint_outside_of_the_range_is_not_compared() -> None:
    log = longer_log()
    assert verdict(prove(log, 4, 9), trust=seen_in(log.checkpoint(2))) == "VALID"
    assert verdict(prove(log, 4, 9), trust=seen_in(log.checkpoint(6))) == "VALID"
    assert verdict(prove(log, 4, 9), trust=seen_in(log.checkpoint())) == "VALID"
    assert verdict(prove(log, 4, 9), seen=(log.checkpoint(2),)) == "INCONSISTENT"


def relabelled(log: GenuineLog, position: int, **changes: Any) -> GenuineLog:
    """Another leaf in the ledger itself, as only its owner can put there."""
    entry = log.entries[position]
    log.entries[position] = type(entry)(**vars(entry) | changes)
    return log


def without_leaf(page: bytes, position: int) -> bytes:
    proof = RangeProof.parse(page)
    leaves = (*proof.leaves[:position], *proof.leaves[position + 1 :])
    return proof.model_copy(update={"leaves": leaves}).canonical()


def changed_late(page: bytes, **changes: Any) -> bytes:
    proof = RangeProof.parse(page)
    late = tuple(each.model_copy(update=changes) for each in proof.late)
    return proof.model_copy(update={"late": late}).canonical()


def result_left_out() -> GenuineLog:
    log = longer_log()
    log.entries.pop(5)
    return log


def final_before_its_start() -> GenuineLog:
    log = GenuineLog()
    log.end(1)
    log.start(1)
    return log


def numbered_twice() -> GenuineLog:
    log = make_genuine()
    log.start(5, seq=4)
    log.end(5, seq=4)
    return log


def left_out_altogether() -> GenuineLog:
    log = make_genuine()
    log.start(6)
    log.end(6)
    return log


def ended_twice() -> GenuineLog:
    log = make_genuine()
    log.end(4)
    return log


def accepted_twice() -> GenuineLog:
    log = make_genuine()
    log.start(4, seq=5)
    log.end(5)
    return log


LATE = Leaf.parse(longer_log().entries[11].leaf())
ATTACKS: dict[str, tuple[str, Callable[[], str]]] = {
    "no proof": ("MALFORMED", verdict),
    "not JSON": ("MALFORMED", lambda: verdict(b"[")),
    "one field more": ("SCHEMA_VIOLATION", lambda: verdict(b'{"a":1}')),
    "too large": ("TOO_LARGE", lambda: verdict(b" " * (RangeProof.MAX_BYTES + 1))),
    "another log": ("WRONG_ORIGIN", lambda: verdict(prove(make_genuine(log=make_log("x")), 0, 8))),
    "another key": ("BAD_CHECKPOINT", lambda: verdict(prove(make_genuine(log=make_log()), 0, 8))),
    "leaf left out": ("INCONSISTENT", lambda: verdict(without_leaf(prove(longer_log(), 4, 9), 2))),
    "leaf left out, size adapted": (
        "INCONSISTENT",
        lambda: verdict(
            RangeProof.parse(without_leaf(prove(longer_log(), 4, 9), 2)).model_copy(update={"second": 8}).canonical()
        ),
    ),
    "edge of another size": ("INCONSISTENT", lambda: verdict(prove(longer_log(), 4, 9, edge=()))),
    "edge of another log": (
        "INCONSISTENT",
        lambda: verdict(prove(longer_log(), 4, 9, edge=("A" * 43 + "=",))),
    ),
    "consistency of another": ("INCONSISTENT", lambda: verdict(prove(longer_log(), 4, 9, consistency=()))),
    "result left out of the ledger": ("MISSING_RESULT", lambda: verdict(prove(result_left_out(), 0, 11))),
    "result left out of the proof": ("MISSING_RESULT", lambda: verdict(prove(longer_log(), 8, 10, late=()))),
    "execution left out altogether": ("MISSING_RESULT", lambda: verdict(prove(left_out_altogether(), 4, 10))),
    "first execution left out": (
        "MISSING_RESULT",
        lambda: verdict(prove(GenuineLog(entries=make_genuine().entries[4:]), 0, 4)),
    ),
    "record before its start": ("INCONSISTENT", lambda: verdict(prove(final_before_its_start(), 0, 2))),
    "number given twice": ("DUPLICATE_ID", lambda: verdict(prove(numbered_twice(), 4, 10))),
    "ended twice": ("DUPLICATE_ID", lambda: verdict(prove(ended_twice(), 4, 9))),
    "accepted twice": ("DUPLICATE_ID", lambda: verdict(prove(accepted_twice(), 4, 10))),
    "another number at the end": ("ID_MISMATCH", lambda: verdict(prove(relabelled(longer_log(), 5, seq=9), 4, 8))),
    "another number after the range": (
        "ID_MISMATCH",
        lambda: verdict(prove(relabelled(longer_log(), 11, seq=9), 8, 10)),
    ),
    "late position of another": (
        "BAD_INCLUSION",
        lambda: verdict(changed_late(prove(longer_log(), 8, 9), position=10)),
    ),
    "late position within": ("INCONSISTENT", lambda: verdict(changed_late(prove(longer_log(), 8, 9), position=8))),
    "late leaf of another": (
        "BAD_INCLUSION",
        lambda: verdict(
            changed_late(prove(longer_log(), 8, 9), leaf=LATE.model_copy(update={"statement_sha256": "0" * 64}))
        ),
    ),
    "late leaf that is not needed": (
        "INCONSISTENT",
        lambda: verdict(prove(longer_log(), 0, 8, late=RangeProof.parse(prove(longer_log(), 8, 9)).late)),
    ),
    "shorter than was seen": (
        "ROLLBACK",
        lambda: verdict(prove(make_genuine(), 4, 8), seen=(longer_log().checkpoint(),)),
    ),
    "shorter than is trusted": (
        "ROLLBACK",
        lambda: verdict(prove(make_genuine(), 4, 8), trust=seen_in(longer_log().checkpoint())),
    ),
    "another past than was seen": (
        "FORK",
        lambda: verdict(prove(longer_log(), 2, 9), seen=(result_left_out().checkpoint(6),)),
    ),
    "seen of a stranger": (
        "BAD_CHECKPOINT",
        lambda: verdict(prove(make_genuine(), 4, 8), seen=(make_genuine(log=make_log()).checkpoint(),)),
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_its_code(name: str) -> None:
    code, judge = ATTACKS[name]
    assert judge() == code


def test_a_checkpoint_of_another_trusted_log_is_not_of_this_one() -> None:
    other = make_genuine(log=make_log("elsewhere"))
    trust = TRUST.model_copy(update={"logs": (*TRUST.logs, other.log.verifier.encode())})
    assert verdict(prove(make_genuine(), 0, 8), trust=trust, seen=(other.checkpoint(),)) == "WRONG_ORIGIN"


def test_many_missing_results_are_named_in_part() -> None:
    log = GenuineLog(signer=make_signer())
    for number in range(1, 21):
        log.start(number)
    message = verify_range([prove(log, 0, 20)], TRUST).checks[-1].message
    assert message.startswith("20 accepted")
    assert message.endswith("and more")


def test_two_results_are_found_where_a_proof_shows_one_and_the_next_the_other() -> None:
    log = GenuineLog()
    log.start(1)
    log.start(2)
    log.end(2)
    log.end(1)
    log.end(1)

    def page(position: int) -> bytes:
        leaves, size = (log.entries[0].leaf(),), len(log.entries)
        found = (position, log.entries[position].leaf())
        return build_range_proof(0, leaves, log.reader(), lambda _: found, note=log.checkpoint(), size=size).canonical()

    assert verdict(page(3), prove(log, 1, 4)) == "VALID"
    assert verdict(page(4), prove(log, 1, 4)) == "DUPLICATE_ID"


def test_a_result_of_what_was_never_accepted_is_found() -> None:
    log = GenuineLog()
    log.start(1)
    log.end(1)
    log.end(7, seq=1)
    assert verdict(prove(log, 0, 3)) == "INCONSISTENT"
    # Where the range begins later it may be of an execution from before.
    assert verdict(prove(log, 2, 3)) == "VALID"


@pytest.mark.parametrize("before_the_start", [True, False])
def test_a_result_from_before_the_range_has_a_number_from_before_the_range(before_the_start: bool) -> None:
    log = make_genuine()
    if before_the_start:
        log.end(9, seq=5)
    log.start(5)
    log.end(5)
    if not before_the_start:
        log.end(9, seq=5)
    assert verdict(prove(log, 8, len(log.entries))) == "INCONSISTENT"


def test_a_number_cannot_stand_where_there_are_too_few_entries_before_it() -> None:
    log = GenuineLog()
    log.start(1)
    log.end(1)
    log.start(1000)
    log.end(1000)
    assert verdict(prove(log, 0, 4)) == "MISSING_RESULT"
    assert verdict(prove(log, 2, 4)) == "INCONSISTENT"
