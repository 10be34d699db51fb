"""Power evidence that contradicts itself, the plan, what the runner said, or what a machine can do."""

from typing import Any

import pytest

from contracts.wire.units import UJ_PER_J
from tests.attacks.stating import (
    NS_PER_S,
    Change,
    both,
    fail,
    limit,
    power,
    raw,
    sample,
    sandbox,
    state,
    unheard,
    unsent,
    warm,
)

MEASURED = {"source": "measured", "measured_at": "2026-01-30T00:00:00.000Z"}


def baseline(**values: object) -> Change:
    return lambda predicate: predicate["power"]["baseline"].update(values)


def metered(*domains: str, source: str, counted: tuple[str, ...] | None = None) -> Change:
    """By a sensor, and where it meters the processors with a measured idle power."""

    def change(predicate: dict[str, Any]) -> None:
        predicate["plan"]["power_source"] = source
        predicate["power"].update(source=source, domains=domains)
        predicate["power"]["limit"].update(basis="measured")
        if any(not name.startswith("gpu-") for name in domains):
            baseline(**MEASURED)(predicate)
        for index, each in enumerate(predicate["power"]["samples"]):
            each["energy_uj"] = dict.fromkeys(domains if counted is None else counted, index * UJ_PER_J)
            each["busy_ns"] = each["cpu_time_ns"]

    return change


RAPL = metered("package-0", source="rapl")


def without_sandbox(predicate: dict[str, Any]) -> None:
    power(samples=[], limit=None)(predicate)
    predicate.update(sandbox=None, determinism=None)


def without_plan(predicate: dict[str, Any]) -> None:
    predicate["plan"]["limits"]["max_watts"] = None


def capped(max_watts: float, cap_mw: int) -> Change:
    def change(predicate: dict[str, Any]) -> None:
        predicate["plan"]["limits"]["max_watts"] = max_watts
        limit(cap_mw=cap_mw)(predicate)

    return change


def lasting(duration_s: float, used_s: float, *, busy_s: float = 0.0, joules: float = 0.0, samples: int = 2) -> Change:
    """Evidence with a last token at a given time, CPU time used evenly until then, and a number of further samples."""

    def change(predicate: dict[str, Any]) -> None:
        end_ns = int(duration_s * NS_PER_S)
        predicate["measurements"]["token_times_ns"][-1] = end_ns
        kept = predicate["power"]["samples"]
        first, last = kept[-2], kept.pop()
        for number in range(1, samples + 1):
            part = number / samples
            at_ns = first["at_ns"] + int((end_ns - first["at_ns"]) * part)
            kept.append(
                last
                | {
                    "mark": "end" if number == samples else "tick",
                    "at_ns": at_ns,
                    "cpu_time_ns": first["cpu_time_ns"] + int(used_s * NS_PER_S * part),
                }
            )
            if busy_s or joules:
                energy_uj = first["energy_uj"]["package-0"] + int(joules * UJ_PER_J * part)
                busy_ns = first["busy_ns"] + int(busy_s * NS_PER_S * part)
                kept[-1] |= {"busy_ns": busy_ns, "energy_uj": {"package-0": energy_uj}}

    return change


def gap(predicate: dict[str, Any]) -> None:
    predicate["power"]["samples"][-2]["cpu_time_ns"] = None


def settings(*at_ns: int, quota: int = 1) -> Change:
    return limit(actions=[{"at_ns": each, "quota_nano_cpus": quota, "power_mw": None} for each in at_ns])


@pytest.mark.parametrize(
    "change",
    [
        metered("package-0", "dram-0", source="rapl"),
        metered("gpu-0", source="nvml"),
        metered("package-0", "gpu-0", source="nvml"),
        both(metered("gpu-0", source="nvml"), limit(gpu_limit_mw=60_000)),
        both(without_plan, power(limit=None)),
        both(unsent, without_sandbox),
        limit(windows=2, windows_over=0, worst_window_mw=26_250),
        both(limit(windows=2, windows_over=1, worst_window_mw=26_251)),
        both(RAPL, limit(windows=1, windows_over=0, worst_window_mw=10**9)),
        settings(-1, 5, 5, quota=2 * NS_PER_S),
        # Late readings, and all that two CPUs can do.
        both(sample("start", at_ns=-5 * NS_PER_S), sample("job", at_ns=-4 * NS_PER_S)),
        sample("start", at_ns=-200 * NS_PER_S),
        lasting(100, 200),
        lasting(2, 13),
        both(lasting(100, 201, samples=100), gap),
        both(RAPL, lasting(100, 100, busy_s=403, joules=1_000_000)),
        # What is read after the limit has passed.
        lasting(299, 10),
        both(fail, sample("end", at_ns=9_000 * NS_PER_S)),
    ],
)
def test_a_statement_that_an_engine_may_make_is_valid(change: Change) -> None:
    assert state(change) == "VALID"


@pytest.mark.parametrize(
    "change",
    [
        power(source="rapl"),
        metered(source="rapl"),
        metered(source="nvml"),
        metered("package-0", source="model"),
        metered("package-0", "gpu-0", source="rapl"),
        metered("package-0", "package-0", source="rapl"),
        metered("package-0", source="rapl", counted=("package-1",)),
        metered("package-0", source="rapl", counted=("package-0", "package-1")),
        lambda p: p["plan"].update(power_source="rapl"),
        power(reserved_cpus=3),
        both(power(reserved_cpus=1), settings(0), unsent, without_sandbox),
        both(power(host_cpus=1), baseline(idle_mw=450)),
        power(host_cpus=65_536),
        power(exclusive=True),
        both(RAPL, power(exclusive=True)),
    ],
)
def test_a_meter_that_there_is_not_is_found(change: Change) -> None:
    assert state(change) == "METRIC_INCONSISTENT"


@pytest.mark.parametrize(
    "change",
    [
        baseline(id="sha256:" + "0" * 64),
        baseline(idle_mw=0),
        baseline(spread_mw=1),
        baseline(source="measured"),
        baseline(**MEASURED),
        both(RAPL, baseline(source="declared", measured_at=None)),
        both(RAPL, baseline(measured_at=None)),
        both(metered("gpu-0", source="nvml"), baseline(**MEASURED)),
        both(metered("package-0", "gpu-0", source="nvml"), baseline(source="declared", measured_at=None)),
    ],
)
def test_an_idle_power_from_nowhere_is_found(change: Change) -> None:
    assert state(change) == "METRIC_INCONSISTENT"


@pytest.mark.parametrize(
    "change",
    [
        power(samples=[]),
        both(fail, power(samples=[])),
        both(unsent, lambda p: p.update(sandbox=None, determinism=None)),
        both(warm, sandbox(start="cold", age_ms=0)),
        sandbox(start="warm", age_ms=1),
        lambda p: p["power"]["samples"].pop(),
        lambda p: p["power"]["samples"].pop(0),
        both(fail, lambda p: p["power"]["samples"].pop(2)),
        both(fail, lambda p: p["power"]["samples"].pop(1)),
        both(fail, sample("end", mark="tick")),
        both(unsent, sample("start", mark="tick")),
        sample("start", at_ns=1),
        sample("prefill", mark="job"),
        lambda p: p["power"]["samples"].insert(1, dict(p["power"]["samples"][0])),
        both(RAPL, sample("end", busy_ns=0)),
        sample("end", cpu_time_ns=0),
        sample("job", at_ns=1),
        both(sample("start", at_ns=-7 * NS_PER_S), sample("job", at_ns=-6 * NS_PER_S)),
        sample("prefill", at_ns=39_999_999),
        sample("end", at_ns=81_999_999),
        both(fail, raw(tokens_prompt=None, prompt_done_ns=None, token_times_ns=[], finish_reason=None)),
    ],
)
def test_samples_that_are_not_around_what_happened_are_found(change: Change) -> None:
    assert state(change) == "METRIC_INCONSISTENT"


@pytest.mark.parametrize(
    "change",
    [
        lasting(100, 213),
        lasting(100, 213, samples=100),
        lasting(2, 15),
        both(lasting(100, 220, samples=100), gap),
        both(RAPL, lasting(100, 100, busy_s=425)),
        both(RAPL, lasting(100, 100, busy_s=100, joules=1_100_000)),
        both(RAPL, lasting(100, 220, busy_s=220)),
    ],
)
def test_more_than_a_machine_can_do_is_found(change: Change) -> None:
    assert state(change) == "METRIC_INCONSISTENT"


@pytest.mark.parametrize("change", [sample("end", at_ns=361 * NS_PER_S), sample("start", at_ns=-361 * NS_PER_S)])
def test_a_window_far_beyond_the_time_limit_is_found(change: Change) -> None:
    assert state(change) == "METRIC_INCONSISTENT"


@pytest.mark.parametrize(
    "change",
    [
        power(limit=None),
        both(unheard, power(limit=None)),
        without_plan,
        limit(cap_mw=24_999),
        capped(1e307, 25_000),
        capped(3.7, 3_700),
        limit(basis="measured"),
        both(RAPL, limit(basis="model")),
        limit(gpu_limit_mw=60_000),
        limit(windows=2, windows_over=3, worst_window_mw=26_251),
        limit(windows=1),
        limit(worst_window_mw=1),
        limit(windows=1, windows_over=0, worst_window_mw=26_251),
        limit(windows=1, windows_over=1, worst_window_mw=26_250),
        settings(5, 4),
        settings(5, quota=2 * NS_PER_S + 1),
    ],
)
def test_a_limit_that_was_not_kept_as_it_is_said_is_found(change: Change) -> None:
    assert state(change) == "METRIC_INCONSISTENT"
