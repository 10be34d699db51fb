from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from contracts.execution.metrics import Measurements, derive_metrics
from contracts.execution.power_evidence import PowerEvidence, PowerModel
from tests.meters import make_power

MODEL = PowerModel(family="test", idle_mw=500, busy_mw=2000, low_percent=38, high_percent=162)


def power(cpu_time_ns: int | None, window_ns: int | None, cpus: int = 2) -> PowerEvidence:
    return make_power(cpu_time_ns, window_ns, prefill_ns=(window_ns or 0) // 4, reserved_cpus=cpus, model=MODEL)


def measured(times: tuple[int, ...], prompt_done_ns: int | None = 10, tokens_prompt: int | None = 4) -> Measurements:
    return Measurements(
        tokens_prompt=tokens_prompt, prompt_done_ns=prompt_done_ns, token_times_ns=times, finish_reason="eos"
    )


def test_the_arithmetic_by_hand() -> None:
    second = 1_000_000_000
    times = (second // 2, second, 2 * second)
    metrics = derive_metrics(measured(times, prompt_done_ns=second // 4), power(2 * second, 2 * second))
    assert metrics.tokens_total == 3
    assert metrics.tokens_per_sec == 1.5
    assert metrics.time_to_first_token_ms == 500
    assert metrics.prefill_tokens_per_sec == 16
    assert metrics.decode_tokens_per_sec == 1.333
    assert metrics.latency_p95_ms == 1000
    # 2 s of CPU at 2 - 0.5 W, and two CPUs kept for 2 s at 0.5 W: 5 J in 2 s
    assert metrics.watts_avg == 2.5
    assert (metrics.watts_low, metrics.watts_high) == (0.95, 4.05)
    assert metrics.tokens_per_watt == 0.6
    # A quarter of it while the prompt was computed; while the model was loaded two idle CPUs for 0.1 s.
    assert (metrics.energy_load_j, metrics.energy_prefill_j, metrics.energy_decode_j) == (0.1, 1.25, 3.75)
    assert not metrics.short_run
    assert metrics.unmeasured == {}


def test_the_95th_percentile_is_the_nearest_rank() -> None:
    millisecond = 1_000_000
    intervals = [*([1] * 19), 50]
    times, now = [], 0
    for interval in intervals:
        now += interval * millisecond
        times.append(now)
    metrics = derive_metrics(measured(tuple(times), prompt_done_ns=0), power(0, times[-1]))
    assert metrics.latency_p95_ms == 1
    assert derive_metrics(measured((*times, now + 50 * millisecond), 0), power(0, 1)).latency_p95_ms == 50


def test_nothing_measured_is_null_with_a_reason_never_zero() -> None:
    metrics = derive_metrics(measured((), None, None), power(None, None))
    nulls = {name for name, value in metrics.model_dump().items() if value is None}
    assert nulls == set(metrics.unmeasured)
    assert "watts_avg" in nulls
    assert metrics.tokens_total == 0


def test_unreadable_cpu_time_leaves_the_speeds() -> None:
    metrics = derive_metrics(measured((20, 30)), power(None, 30))
    assert metrics.tokens_per_sec is not None
    assert metrics.watts_avg is None
    assert "could not be read" in metrics.unmeasured["watts_avg"]


def test_one_token_has_no_decode_rate() -> None:
    metrics = derive_metrics(measured((20,)), power(5, 20))
    assert metrics.decode_tokens_per_sec is None
    assert "two tokens" in metrics.unmeasured["decode_tokens_per_sec"]


def test_a_window_of_zero_divides_nothing() -> None:
    metrics = derive_metrics(measured((0,), prompt_done_ns=0), power(5, 0))
    assert metrics.tokens_per_sec is None
    assert metrics.watts_avg is None
    assert "too short" in metrics.unmeasured["tokens_per_sec"]
    assert metrics.prefill_tokens_per_sec is None


def test_no_power_at_all_has_no_tokens_per_watt() -> None:
    free = PowerModel(family="free", idle_mw=0, busy_mw=1, low_percent=0, high_percent=100)
    evidence = power(0, 100).model_copy(update={"model": free})
    metrics = derive_metrics(measured((50, 100)), evidence)
    assert metrics.watts_avg == 0
    assert metrics.tokens_per_watt is None
    assert "zero" in metrics.unmeasured["tokens_per_watt"]


def test_an_aborted_generation_has_no_finish_reason() -> None:
    raw = measured((20,)).model_copy(update={"finish_reason": None})
    assert derive_metrics(raw, power(1, 20)).unmeasured["finish_reason"]


@given(st.lists(st.integers(10**6, 10**10), min_size=1, max_size=50), st.integers(0, 10**10))
def test_published_ratio_holds_for_whoever_has_only_the_published_numbers(deltas: list[int], cpu_time_ns: int) -> None:
    times, now = [], 0
    for delta in deltas:
        now += delta
        times.append(now)
    metrics = derive_metrics(measured(tuple(times), 0), power(cpu_time_ns, now))
    assert metrics.tokens_per_sec is not None
    assert metrics.watts_avg
    assert metrics.tokens_per_watt is not None
    ratio = Fraction(metrics.tokens_per_sec) / Fraction(metrics.watts_avg)
    assert abs(Fraction(metrics.tokens_per_watt) - ratio) <= Fraction(1, 10_000)


def test_a_devices_bounds_are_the_sensors_and_the_cpus_the_tables() -> None:
    second = 1_000_000_000
    evidence = power(2 * second, 2 * second)
    samples = tuple(
        sample.model_copy(update={"energy_uj": {"gpu-0": max(0, sample.at_ns) // 1000 * 100}})
        for sample in evidence.samples
    )
    evidence = evidence.model_copy(update={"source": "nvml", "domains": ("gpu-0",), "samples": samples, "update_ns": 1})
    metrics = derive_metrics(measured((second, 2 * second)), evidence)
    # 100 W of the device within 5 %, and 2.5 W of the CPUs within the table's bounds.
    assert metrics.watts_avg == 102.5
    assert metrics.watts_low == 100 * 0.95 + 0.95
    assert metrics.watts_high == 100 * 1.05 + 4.05


def test_a_warm_start_has_no_energy_of_loading_and_says_why() -> None:
    evidence = power(50, 100)
    warm = evidence.model_copy(update={"samples": tuple(each for each in evidence.samples if each.mark != "start")})
    metrics = derive_metrics(measured((50, 100)), warm)
    assert metrics.energy_load_j is None
    assert "warm start" in metrics.unmeasured["energy_load_j"]
    assert metrics.watts_avg is not None
