"""Hold the power evidence of a record against itself, the plan, what the runner said, and what a machine can do. Pure.

How far an honest record may be off follows from how the engine measures. A sample's time is read first and its counters
after it, and a loaded machine may hold the engine up between the two. Ticks come late, and never early. Counters of CPU
time move in ticks of some milliseconds. What is not bounded here cannot be: the end of an execution that did not
complete is read when the engine comes to it, and an engine that was stopped may come to it hours later.
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
# The largest word for a power; what a sensor says beyond it is written as this (`Milliwatts`).
MOST_MW = 10**9
# Between two of the engine's own instructions, as between a clock and a counter: fractions of a second were seen.
HELD_UP_NS = 5 * NS_PER_S
# CPU time is counted by the scheduler's clock, which is not the monotonic one: that is slewed, by 500 ppm at most.
CLOCKS_PERCENT = 101
# 10 kW: no processor's package, no memory behind one and no GPU draws a quarter of it.
MOST_UJ_PER_NS = 10


def _is_too_fast(times: Sequence[int], counts: Sequence[int | None], per_ns: int) -> bool:
    """Tell whether a counter moved by more between any two samples than it can have in the time between them.

    Args:
        times: of the samples, in ns.
        counts: what the counter said; None: a gap.
        per_ns: how much it can move in a nanosecond.
    """
    lowest: int | None = None
    for at_ns, count in zip(times, counts, strict=True):
        if count is None:
            continue
        # What is left of the counter when all that its sample's time can explain is taken away.
        beyond = count * PERCENT - at_ns * per_ns * CLOCKS_PERCENT
        lowest = beyond if lowest is None else min(lowest, beyond)
        if beyond - lowest > HELD_UP_NS * per_ns * PERCENT:
            return True
    return False


def _physical_faults(power: PowerEvidence) -> Iterator[str]:
    times = [sample.at_ns for sample in power.samples]
    if _is_too_fast(times, [sample.cpu_time_ns for sample in power.samples], power.reserved_cpus):
        yield "it used more CPU time than the CPUs that were leased to it have"
    # Not held against the execution's: the host's is sampled by ticks, and misses what runs between two of them.
    if _is_too_fast(times, [sample.busy_ns for sample in power.samples], power.host_cpus):
        yield "the host was busy for more CPU time than its CPUs have"
    for name in power.domains:
        if _is_too_fast(times, [sample.energy_uj.get(name) for sample in power.samples], MOST_UJ_PER_NS):
            yield f"more energy was counted than anything draws: {name}"


def _meter_faults(power: PowerEvidence) -> Iterator[str]:
    if len(set(power.domains)) != len(power.domains):
        yield "a domain is counted twice"
    kinds = {"model": (False, False), "rapl": (True, False), "nvml": (bool(power.cpu_domains), True)}
    if (bool(power.cpu_domains), bool(power.gpu_domains)) != kinds[power.source]:
        yield f"what is metered is not what the meter `{power.source}` meters"
    if any(set(sample.energy_uj) != set(power.domains) for sample in power.samples):
        yield "the samples are of other domains than those that are named"
    if power.reserved_cpus > power.host_cpus:
        yield "more CPUs were leased than the host has"
    if power.exclusive:
        yield "no engine can say that nothing else ran on the host"


def _baseline_faults(power: PowerEvidence) -> Iterator[str]:
    baseline, model = power.baseline, power.model
    # Without a calibration that counts, the processor's counters are not used.
    if (baseline.source == "measured") != bool(power.cpu_domains):
        yield "an idle power was measured by no meter, or is declared beside one that needs it measured"
    if baseline.source == "measured":
        if baseline.measured_at is None:
            yield "an idle power was measured at no time"
        return
    said = (baseline.id, baseline.idle_mw, baseline.spread_mw, baseline.measured_at)
    if said != (model.canonical_digest(), model.idle_mw * power.host_cpus, 0, None):
        yield "the declared idle power is not that of the table's row"


def _judgement_faults(limit: PowerLimitEvidence) -> Iterator[str]:
    worst_mw = limit.worst_window_mw
    if limit.windows_over > limit.windows:
        yield "more windows were over the limit than were judged"
    if (limit.windows == 0) != (worst_mw is None):
        yield "the worst window is one that was not judged, or none was kept"
    if worst_mw is not None and worst_mw < MOST_MW:
        is_over = worst_mw * PERCENT > limit.cap_mw * (PERCENT + limit.tolerance_percent)
        if is_over != (limit.windows_over > 0):
            yield "the worst window and the number of those over the limit contradict each other"


def _limit_faults(power: PowerEvidence, limit: PowerLimitEvidence, plan: ExecutionPlan) -> Iterator[str]:
    max_watts = plan.limits.max_watts
    # A plan's limit may be any float, and one that is too large for a double has no whole number.
    if max_watts is None or limit.cap_mw != max(1, int(min(max_watts * MW_PER_W, MAX_SAFE_INTEGER))):
        yield "the limit that was kept is not the plan's"
    if (limit.basis == "model") != (power.source == "model"):
        yield "the limit was kept by another meter"
    if power.source == "model" and plan.scheduling.threads * power.model.busy_mw > limit.cap_mw:
        yield "by the table the threads can draw more than the limit, which is then refused"
    if limit.gpu_limit_mw is not None and not power.gpu_domains:
        yield "a GPU was given a limit, and there is none"
    set_at = [action.at_ns for action in limit.actions]
    if set_at != sorted(set_at):
        yield "the settings go backwards in time"
    if any(action.quota_nano_cpus > power.reserved_cpus * NS_PER_S for action in limit.actions):
        yield "more CPU time was given than the CPUs that were leased have"


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
        yield "the marks of the samples are repeated or not in order"
    for name, counter in _counters(power):
        if counter != sorted(counter):
            yield f"a counter goes backwards: {name}"


def _edge_faults(power: PowerEvidence, raw: Measurements) -> Iterator[str]:
    """Give where the samples are not around what the runner said; times of both are from the job's first byte on."""
    at_ns = {sample.mark: sample.at_ns for sample in power.samples}
    if at_ns.get("job", 0) > 0:
        yield "the samples begin after the job"
    if raw.prompt_done_ns is None:
        if "prefill" in at_ns:
            yield "the end of a prompt was metered that never came"
        return
    # Read right before the first byte goes out, right after the end of the prompt comes in, and after all tokens.
    if at_ns.get("job", -HELD_UP_NS - 1) < -HELD_UP_NS:
        yield "the samples begin long before the job"
    if at_ns.get("prefill", -1) < raw.prompt_done_ns:
        yield "the end of the prompt was not metered, or before it came"
    if raw.token_times_ns and at_ns.get("end", -1) < raw.token_times_ns[-1]:
        yield "the samples are not around the generated tokens"


def _lease_faults(power: PowerEvidence, sandbox: SandboxObservation) -> Iterator[str]:
    if power.reserved_cpus != max(1, len(sandbox.cpus)):
        yield "it is of another number of CPUs than were leased to the sandbox"
    marks = [sample.mark for sample in power.samples]
    # Where the model was loaded before, there is no load to be metered. However an execution ends, that is read last.
    if marks and ((marks[0] == "start") != (sandbox.start == "cold") or marks[-1] != "end"):
        yield "the samples do not go from the start of the execution to its end"


def _plan_faults(record: MetricsRecord, power: PowerEvidence) -> Iterator[str]:
    plan, sandbox, samples = record.plan, record.sandbox, power.samples
    if power.source != plan.power_source:
        yield "the meter is not the plan's"
    if power.reserved_cpus < plan.scheduling.cores:
        yield "it is of fewer CPUs than the plan has cores"
    if sandbox is None:
        if samples:
            yield "there are samples of no sandbox"
    else:
        yield from _lease_faults(power, sandbox)
    if samples and (power.limit is None) != (plan.limits.max_watts is None):
        yield "a power limit and how it was kept belong together"
    # The time limit counts from before the first sample of a container that was made for this execution alone.
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
    """Require that the power evidence agrees with itself, the plan, what the runner said, and what a machine can do.

    Raises:
        CheckFailed: ``METRIC_INCONSISTENT``.
    """
    for fault in _faults(record, power, raw):
        raise CheckFailed("METRIC_INCONSISTENT", f"the power evidence: {fault}")
