"""Statements that no engine makes: the keys are the right ones, and the parts of the record contradict each other."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.execution.metrics_record import MetricsRecord
from contracts.generate import DIRECTORY
from contracts.verify.record import verify_record
from supervisor.domain.records.recording import abort_conclusion, encode_statement
from tests.attacks.stating import (
    NS_PER_S,
    Change,
    both,
    fail,
    limit,
    power,
    raw,
    sample,
    state,
    unheard,
    unsent,
    verdict,
)
from tests.factories import make_conclusion, make_envelope, make_signer, make_trust

SIGNER = make_signer()
EXAMPLES = sorted((DIRECTORY / "examples" / "valid").glob("metrics-record.*.json"))


def ended(outcome: str, code: str) -> Change:
    return lambda predicate: predicate.update(outcome=outcome, reason={"code": code, "message": "x"})


def without(*names: str) -> Change:
    return lambda predicate: predicate.update(dict.fromkeys(names))


def queued(predicate: dict[str, Any]) -> None:
    """It was cancelled before it had any CPU."""
    unsent(predicate)
    without("power", "metrics", "sandbox", "determinism")(predicate)
    ended("cancelled", "cancelled")(predicate)


def unmetered(predicate: dict[str, Any]) -> None:
    predicate["power"]["samples"] = [each for each in predicate["power"]["samples"] if each["mark"] != "prefill"]


def with_stop(predicate: dict[str, Any]) -> None:
    predicate["plan"]["stop"] = ["."]
    raw(finish_reason="stop")(predicate)


def heard_at(after_ns: int) -> Change:
    """The last token came so long after the job as the plan allows, and so much later."""

    def change(predicate: dict[str, Any]) -> None:
        fail(predicate)
        at_ns = predicate["plan"]["limits"]["timeout_s"] * NS_PER_S + after_ns
        predicate["measurements"]["token_times_ns"][-1] = at_ns
        predicate["power"]["samples"][-1]["at_ns"] = at_ns

    return change


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_of_a_record_contradicts_nothing(path: Path) -> None:
    record = MetricsRecord.parse(path.read_bytes())
    assert verdict(json.loads(encode_statement(record))) == "VALID"


@pytest.mark.parametrize(
    "change",
    [
        both(fail, raw(finish_reason=None)),
        ended("cancelled", "cancelled"),
        ended("aborted", "aborted"),
        unheard,
        unsent,
        queued,
        with_stop,
        heard_at(NS_PER_S),
        both(ended("failed", "power_limit_exceeded"), limit(windows=1, windows_over=1, worst_window_mw=26_251)),
    ],
)
def test_a_statement_that_an_engine_may_make_is_valid(change: Change) -> None:
    assert state(change) == "VALID"


@pytest.mark.parametrize(
    "change",
    [
        both(fail, without("metrics")),
        without("metrics"),
        without("measurements", "power", "metrics"),
        ended("completed", "x"),
        ended("cancelled", "x"),
        ended("aborted", "cancelled"),
        ended("failed", "cancelled"),
        ended("failed", "aborted"),
        ended("failed", "power_limit_exceeded"),
        both(unsent, power(samples=[], limit=None), ended("failed", "power_limit_exceeded")),
        both(queued, ended("failed", "power_limit_exceeded")),
        both(unheard, without("measurements", "metrics")),
        both(unheard, without("measurements", "metrics", "power")),
        both(unsent, without("power", "metrics")),
        without("output"),
        raw(finish_reason=None),
        raw(finish_reason="length"),
        raw(finish_reason="stop"),
        raw(tokens_prompt=None),
        raw(tokens_prompt=None, prompt_done_ns=None),
        raw(tokens_prompt=0),
        both(fail, raw(tokens_prompt=None, prompt_done_ns=None, finish_reason=None), unmetered),
        both(raw(prompt_done_ns=41_000_001), sample("prefill", at_ns=41_500_000)),
        raw(token_times_ns=[61_000_000, 41_000_000, 82_000_000]),
        raw(token_times_ns=[*range(41_000_000, 41_000_009)]),
        raw(tokens_prompt=2048),
        both(fail, without("output")),
        heard_at(61 * NS_PER_S),
        lambda p: p["plan"]["limits"].update(output_bytes=3),
    ],
)
def test_numbers_that_the_rest_of_the_record_does_not_bear_are_found(change: Change) -> None:
    assert state(change) == "METRIC_INCONSISTENT"


def test_metrics_that_come_from_nothing_are_found() -> None:
    aborted, completed = (
        json.loads(encode_statement(MetricsRecord.parse((EXAMPLES[0].parent / name).read_bytes())))
        for name in ("metrics-record.aborted.json", "metrics-record.completed.json")
    )
    assert verdict(aborted) == "VALID"
    aborted["predicate"]["metrics"] = completed["predicate"]["metrics"]
    assert verdict(aborted) == "METRIC_INCONSISTENT"


def test_an_end_before_the_beginning_is_found() -> None:
    assert state(lambda p: p.update(finished_at="2026-01-31T12:00:00.122Z")) == "INCONSISTENT"


def test_nothing_can_be_known_of_what_another_version_left_behind() -> None:
    trust = make_trust(SIGNER, "0.2.0")
    known = make_conclusion(outcome="aborted", reason=abort_conclusion().reason)
    assert verify_record(make_envelope(SIGNER, abort_conclusion(), "0.2.0"), trust).verdict == "VALID"
    assert verify_record(make_envelope(SIGNER, known, "0.2.0"), trust).verdict == "ID_MISMATCH"
