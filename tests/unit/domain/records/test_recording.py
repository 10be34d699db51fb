import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from contracts.execution.metrics_record import Reason
from supervisor.domain.records.recording import abort_conclusion, build_record, encode_statement, format_time
from tests.factories import EXECUTION_ID, WHEN, make_conclusion, make_plan
from tests.fakes.installation import VERSION, fixed_installation


def test_times_are_utc_with_milliseconds() -> None:
    moment = datetime(2026, 1, 31, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(moment) == "2026-01-31T12:00:00.999Z"
    assert format_time(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


def test_the_statement_is_about_plan_and_output() -> None:
    record = build_record(
        EXECUTION_ID,
        make_plan(),
        make_conclusion(),
        seq=1,
        engine_version=VERSION,
        manifest=None,
        accepted_at=WHEN,
        finished_at=WHEN,
    )
    statement = json.loads(encode_statement(record))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [subject["name"] for subject in statement["subject"]] == ["plan", "output"]
    assert statement["predicate"]["plan_digest"] == "sha256:" + statement["subject"][0]["digest"]["sha256"]


def test_an_aborted_execution_claims_nothing() -> None:
    record = build_record(
        EXECUTION_ID,
        make_plan(),
        abort_conclusion(),
        seq=1,
        engine_version=VERSION,
        manifest=None,
        accepted_at=WHEN,
        finished_at=WHEN,
    )
    assert record.outcome == "aborted"
    assert (record.output, record.metrics, record.measurements, record.sandbox) == (None, None, None, None)
    assert len(json.loads(encode_statement(record))["subject"]) == 1


@pytest.mark.parametrize("missing", ["measurements", "power"])
def test_without_raw_integers_there_are_no_metrics(missing: str) -> None:
    reason = Reason(code="x", message="")
    assert make_conclusion(outcome="failed", reason=reason, **{missing: None}).metrics is None


def test_the_output_is_not_shown_by_accident() -> None:
    assert "Olá" not in repr(make_conclusion())


@pytest.mark.parametrize(
    ("processor", "family"),
    [
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-milan"),
        ("AMD EPYC 7B12", "amd-epyc-rome"),
        ("AMD EPYC 7601 32-Core Processor", "amd-epyc-naples"),
        ("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", "intel-cascade-lake"),
        ("Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz", "intel-skylake"),
        ("Intel(R) Xeon(R) CPU E5-2676 v3 @ 2.40GHz", "intel-haswell"),
        ("Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", "intel-broadwell"),
        ("AMD EPYC", "unknown"),
    ],
)
def test_a_processor_finds_its_row(processor: str, family: str) -> None:
    rows = fixed_installation().policies.power.family
    assert next(row.name for row in rows if row.matches(processor)) == family
