"""Compare the power evidence of a record with itself, the plan, the measurements, and the limits of machines. Pure.

The tolerances follow from how the engine measures. It reads a sample's time first and the counters after it, and a
loaded machine may delay it in between. Ticks come late, never early. Counters of CPU time move in ticks of some
milliseconds. The last sample of an execution that did not complete has no limit: an engine that was stopped may read it
hours later.
"""

from collections.abc import Iterator, Sequence
from typing import get_args

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics import Measurements
from contracts.execution.metrics_record import MetricsRecord, SandboxObservation
from contracts.execution.power_evidence import PowerEvidence, PowerLimitEvidence, SampleMark
from contracts.verify.checks import CheckFailed
from contracts.verify.record_evidence import LATE_NS
from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.units import MW_PER_W, NS_PER_S

__all__ = ["check_power_evidence"]

PERCENT = 100
# The largest power that a record can state; a larger reading is recorded as this value (`Milliwatts`).
MOST_MW = 10**9
# The longest delay between two instructions of the engine, such as two reads: fractions of a second were measured.
HELD_UP_NS = 5 * NS_PER_S
# The scheduler's clock counts CPU time. It differs from the monotonic clock, which is slewed by 500 ppm at most.
CLOCKS_PERCENT = 101
# 10 kW: no processor package, memory or GPU draws a quarter of this.
MOST_UJ_PER_NS = 10


def _is_too_fast(times: Sequence[int], counts: Sequence[int | None], per_ns: int) -> bool:
    """Return whether a counter moved more between any two samples than the time between them allows.

    Args:
        times: the samples' times in ns.
        counts: the counter at each sample; None where it could not be read.
        per_ns: the most that it can move in a nanosecond.
    """
    lowest: int | None = None
    for at_ns, count in zip(times, counts, strict=True):
        if count is None:
            continue
        # The part of the counter that the sample's time cannot explain.
        beyond = count * PERCENT - at_ns * per_ns * CLOCKS_PERCENT
        lowest = beyond if lowest is None else min(lowest, beyond)
        if beyond - lowest > HELD_UP_NS * per_ns * PERCENT:
            return True
    return False


def _physical_faults(power: PowerEvidence) -> Iterator[str]:
    times = [sample.at_ns for sample in power.samples]
    if _is_too_fast(times, [sample.cpu_time_ns for sample in power.samples], power.reserved_cpus):
        yield "it used more CPU time than its leased CPUs have"
    # Not compared with the execution's CPU time: the host counts by ticks, and misses work between two ticks.
    if _is_too_fast(times, [sample.busy_ns for sample in power.samples], power.host_cpus):
        yield "the host was busy for more CPU time than its CPUs have"
    for name in power.domains:
        if _is_too_fast(times, [sample.energy_uj.get(name) for sample in power.samples], MOST_UJ_PER_NS):
            yield f"a counter has more energy than any hardware draws: {name}"


def _meter_faults(power: PowerEvidence) -> Iterator[str]:
    if len(set(power.domains)) != len(power.domains):
        yield "a domain is counted twice"
    kinds = {"model": (False, False), "rapl": (True, False), "nvml": (bool(power.cpu_domains), True)}
    if (bool(power.cpu_domains), bool(power.gpu_domains)) != kinds[power.source]:
        yield f"the domains are not those of the meter `{power.source}`"
    if any(set(sample.energy_uj) != set(power.domains) for sample in power.samples):
        yield "the samples have other domains than the evidence names"
    if power.reserved_cpus > power.host_cpus:
        yield "more CPUs were leased than the host has"
    if power.exclusive:
        yield "it claims to be alone on the host, which no engine can observe"


def _baseline_faults(power: PowerEvidence) -> Iterator[str]:
    baseline, model = power.baseline, power.model
    # The processor's counters are used only with a valid calibration.
    if (baseline.source == "measured") != bool(power.cpu_domains):
        yield "the idle power is measured without a meter, or declared with a meter that needs it measured"
    if baseline.source == "measured":
        if baseline.measured_at is None:
            yield "the measured idle power has no time"
        return
    said = (baseline.id, baseline.idle_mw, baseline.spread_mw, baseline.measured_at)
    if said != (model.canonical_digest(), model.idle_mw * power.host_cpus, 0, None):
        yield "the declared idle power is not the one in the table's row"


def _judgement_faults(limit: PowerLimitEvidence) -> Iterator[str]:
    worst_mw = limit.worst_window_mw
    if limit.windows_over > limit.windows:
        yield "more windows were over the limit than were judged"
    if (limit.windows == 0) != (worst_mw is None):
        yield "the worst window is given without judged windows, or missing with them"
    if worst_mw is not None and worst_mw < MOST_MW:
        is_over = worst_mw * PERCENT > limit.cap_mw * (PERCENT + limit.tolerance_percent)
        if is_over != (limit.windows_over > 0):
            yield "the worst window and the number of those over the limit contradict each other"


def _limit_faults(power: PowerEvidence, limit: PowerLimitEvidence, plan: ExecutionPlan) -> Iterator[str]:
    max_watts = plan.limits.max_watts
    # A plan's limit may be any float; a very large one is cut to the largest safe integer.
    if max_watts is None or limit.cap_mw != max(1, int(min(max_watts * MW_PER_W, MAX_SAFE_INTEGER))):
        yield "the enforced limit is not the plan's"
    if (limit.basis == "model") != (power.source == "model"):
        yield "the limit was enforced with another meter"
    if power.source == "model" and plan.scheduling.threads * power.model.busy_mw > limit.cap_mw:
        yield "by the table the threads can draw more than the limit; an engine refuses such a request"
    if limit.gpu_limit_mw is not None and not power.gpu_domains:
        yield "a GPU limit is given, but no GPU is metered"
    set_at = [action.at_ns for action in limit.actions]
    if set_at != sorted(set_at):
        yield "the limit's actions go backwards in time"
    if any(action.quota_nano_cpus > power.reserved_cpus * NS_PER_S for action in limit.actions):
        yield "the CPU quota is larger than the leased CPUs"


def _counters(power: PowerEvidence) -> Iterator[tuple[str, list[int]]]:
    samples = power.samples
    yield "cpu_time_ns", [sample.cpu_time_ns for sample in samples if sample.cpu_time_ns is not None]
    yield "busy_ns", [sample.busy_ns for sample in samples if sample.busy_ns is not None]
    for name in power.domains:
        yield name, [value for sample in samples if (value := sample.energy_uj.get(name)) is not None]


def _sample_faults(power: PowerEvidence) -> Iterator[str]:
    if list(power.samples) != sorted(power.samples, key=lambda sample: sample.at_ns):
        yield "the samples go backwards in time"
    marks = [sample.mark for sample in power.samples]
    edges = [mark for mark in marks if mark != "tick"]
    if edges != [mark for mark in get_args(SampleMark) if mark in edges]:
        yield "the marks of the samples are repeated or out of order"
    for name, counter in _counters(power):
        if counter != sorted(counter):
            yield f"a counter goes backwards: {name}"


def _edge_faults(power: PowerEvidence, raw: Measurements) -> Iterator[str]:
    """Yield the faults of samples that do not enclose the tokens; both count time from the job's first byte."""
    at_ns = {sample.mark: sample.at_ns for sample in power.samples}
    if at_ns.get("job", 0) > 0:
        yield "the samples begin after the job"
    if raw.prompt_done_ns is None:
        if "prefill" in at_ns:
            yield "the end of the prompt was metered, but never came"
        return
    # The engine reads right before it sends the first byte, right after the end of the prompt, and after all tokens.
    if at_ns.get("job", -HELD_UP_NS - 1) < -HELD_UP_NS:
        yield "the samples begin long before the job"
    if at_ns.get("prefill", -1) < raw.prompt_done_ns:
        yield "the end of the prompt was not metered, or metered before it came"
    if raw.token_times_ns and at_ns.get("end", -1) < raw.token_times_ns[-1]:
        yield "the samples do not enclose the generated tokens"


def _lease_faults(power: PowerEvidence, sandbox: SandboxObservation) -> Iterator[str]:
    if power.reserved_cpus != max(1, len(sandbox.cpus)):
        yield "it has another number of CPUs than were leased to the sandbox"
    marks = [sample.mark for sample in power.samples]
    # A warm sandbox has loaded its model before, so its load is not metered. The end is always the last sample.
    if marks and ((marks[0] == "start") != (sandbox.start == "cold") or marks[-1] != "end"):
        yield "the samples do not go from the start of the execution to its end"


def _plan_faults(record: MetricsRecord, power: PowerEvidence) -> Iterator[str]:
    plan, sandbox, samples = record.plan, record.sandbox, power.samples
    if power.source != plan.power_source:
        yield "the meter is not the plan's"
    if power.reserved_cpus < plan.scheduling.cores:
        yield "it has fewer CPUs than the plan has cores"
    if sandbox is None:
        if samples:
            yield "there are samples, but no sandbox"
    else:
        yield from _lease_faults(power, sandbox)
    if samples and (power.limit is None) != (plan.limits.max_watts is None):
        yield "a power limit and its enforcement are given without each other"
    # The time limit starts before the first sample of a container that was made for this execution.
    allowed_ns = plan.limits.timeout_s * NS_PER_S + LATE_NS
    if record.outcome == "completed" and samples and samples[-1].at_ns - samples[0].at_ns > allowed_ns:
        yield "it is metered for longer than the time limit allows"


def _faults(record: MetricsRecord, power: PowerEvidence, raw: Measurements) -> Iterator[str]:
    yield from _meter_faults(power)
    yield from _baseline_faults(power)
    yield from _sample_faults(power)
    yield from _physical_faults(power)
    yield from _plan_faults(record, power)
    yield from _edge_faults(power, raw)
    if power.limit is not None:
        yield from _limit_faults(power, power.limit, record.plan)
        yield from _judgement_faults(power.limit)


def check_power_evidence(record: MetricsRecord, power: PowerEvidence, raw: Measurements) -> None:
    """Require that the power evidence agrees with itself, the plan, the measurements, and the limits of machines.

    Raises:
        CheckFailed: ``METRIC_INCONSISTENT``.
    """
    for fault in _faults(record, power, raw):
        raise CheckFailed("METRIC_INCONSISTENT", f"the power evidence: {fault}")
