from contracts.execution.attribution import attribute_energy
from contracts.execution.metrics_record import MetricsRecord
from supervisor.domain.access.usage import NOTHING, DailyUsage, Usage, day_of, usage_of
from supervisor.domain.records.recording import Conclusion, abort_conclusion, build_record
from tests.factories import EXECUTION_ID, WHEN, make_conclusion, make_plan
from tests.fakes.installation import VERSION


def record_of(conclusion: Conclusion) -> MetricsRecord:
    return build_record(
        EXECUTION_ID,
        make_plan(),
        conclusion,
        seq=1,
        engine_version=VERSION,
        manifest=None,
        accepted_at=WHEN,
        finished_at=WHEN,
    )


def test_prompt_and_answer_count_and_the_energy_from_the_load_on() -> None:
    record = record_of(make_conclusion())
    assert record.power is not None
    load, job = (attribute_energy(record.power, phase) for phase in ("load", "job"))
    assert job is not None
    expected = job.total_uj + (load.total_uj if load else 0)
    assert usage_of(record) == Usage(10 + 3, int(expected))
    assert expected >= 1


def test_what_was_not_measured_counts_nothing() -> None:
    assert usage_of(record_of(abort_conclusion())) == NOTHING


def test_a_prompt_that_was_not_computed_counts_nothing() -> None:
    conclusion = make_conclusion()
    assert conclusion.measurements is not None
    raw = conclusion.measurements.model_copy(
        update={"tokens_prompt": None, "prompt_done_ns": None, "token_times_ns": (), "finish_reason": None}
    )
    assert usage_of(record_of(make_conclusion(measurements=raw))).tokens == 0


def test_sums_are_of_one_caller_and_one_day() -> None:
    usage = DailyUsage()
    usage.begin("2026-01-31", {"one": Usage(1, 10)})
    usage.add("one", "2026-01-31", Usage(2, 20))
    usage.add("two", "2026-01-31", Usage(4, 40))
    usage.add("one", "2026-01-30", Usage(100, 100))
    assert [usage.of(name, "2026-01-31") for name in ("one", "two", "three")] == [Usage(3, 30), Usage(4, 40), NOTHING]
    assert usage.of("one", "2026-02-01") == NOTHING
    usage.add("two", "2026-02-01", Usage(5, 50))
    assert [usage.of(name, "2026-02-01") for name in ("one", "two")] == [NOTHING, Usage(5, 50)]


def test_a_timestamp_has_a_day() -> None:
    assert day_of("2026-01-31T12:00:00.123Z") == "2026-01-31"
