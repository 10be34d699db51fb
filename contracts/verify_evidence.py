"""Hold the parts of one record against each other: plan, sandbox, power evidence, outcome and times. Pure.

A signature says who made a statement. These are the statements that no engine makes, whoever signed them: a meter that
metered nothing, a result of an execution whose sandbox was not what was asked for, an end before the beginning.
"""

from collections.abc import Iterator

from contracts.base import MAX_SAFE_INTEGER
from contracts.checks import CheckFailed
from contracts.execution_plan import ExecutionPlan
from contracts.metrics import Measurements
from contracts.metrics_record import IsolationReceipt, MetricsRecord, SandboxObservation
from contracts.power import PowerEvidence, PowerLimitEvidence

__all__ = ["check_measurements", "check_power_evidence", "check_sandbox", "check_times"]

MW_PER_W = 1000


def check_times(record: MetricsRecord) -> str:
    """Return a message that the execution did not end before it was accepted.

    Raises:
        CheckFailed: ``INCONSISTENT``.
    """
    # The times are of one form, in UTC, so that their order is that of their texts.
    if record.finished_at < record.accepted_at:
        raise CheckFailed("INCONSISTENT", f"it ended at {record.finished_at}, before it was accepted")
    return f"{record.accepted_at} to {record.finished_at}"


def _isolation_faults(record: MetricsRecord, sandbox: SandboxObservation, seen: IsolationReceipt) -> Iterator[str]:
    plan = record.plan
    if seen.tier != plan.isolation:
        yield "its isolation tier is not the plan's"
    if seen.difference and (record.output is not None or record.outcome == "completed"):
        yield "it was not what was asked for, and the job was sent all the same"
    if seen.difference:
        return
    if sorted(seen.cpus_allowed) != sorted(sandbox.cpus):
        yield "it could run on other CPUs than were leased to it"
    if seen.memory_limit_bytes != plan.limits.memory_bytes:
        yield "its memory limit is not the plan's"
    own, other = (seen.locks, seen.gvisor) if seen.tier == "hardened" else (seen.gvisor, seen.locks)
    if own is None or other is not None:
        yield "what was seen of it is not what is seen in its tier"


def _sandbox_faults(record: MetricsRecord, sandbox: SandboxObservation) -> Iterator[str]:
    if record.outcome == "completed" and sandbox.image != record.plan.runtime_image:
        yield "it was made of another image than the plan's"
    if (sandbox.start == "warm") != (sandbox.age_ms not in {None, 0}):
        yield "its age is not that of its start"
    if len(set(sandbox.cpus)) != len(sandbox.cpus):
        yield "one CPU was leased twice"
    if sandbox.isolation is not None:
        yield from _isolation_faults(record, sandbox, sandbox.isolation)


def check_sandbox(record: MetricsRecord) -> None:
    """Require that the sandbox is the one that plan, outcome and power evidence speak of.

    Raises:
        CheckFailed: ``ID_MISMATCH``.
    """
    if record.sandbox is None:
        if record.outcome == "completed":
            raise CheckFailed("ID_MISMATCH", "the execution completed without a sandbox")
        return
    for fault in _sandbox_faults(record, record.sandbox):
        raise CheckFailed("ID_MISMATCH", f"the sandbox: {fault}")


def _measurement_faults(raw: Measurements, plan: ExecutionPlan) -> Iterator[str]:
    times = raw.token_times_ns
    if list(times) != sorted(times):
        yield "the token times go backwards"
    if len(times) > plan.limits.max_tokens:
        yield "there are more tokens than the plan allows"
    if (raw.tokens_prompt is None) != (raw.prompt_done_ns is None):
        yield "prompt tokens and the time of their end belong together"
    if raw.prompt_done_ns is None and (times or raw.finish_reason is not None):
        yield "tokens were generated before the prompt was computed"
    if raw.prompt_done_ns is not None and times and times[0] < raw.prompt_done_ns:
        yield "tokens were generated before the prompt was computed"
    if (raw.tokens_prompt or 0) + plan.limits.max_tokens > plan.context_tokens:
        yield "the prompt does not fit the context"
    if raw.finish_reason == "length" and len(times) != plan.limits.max_tokens:
        yield "it ended by a length that was not reached"
    if raw.finish_reason == "stop" and not plan.stop:
        yield "it ended by a stop that the plan does not have"


def check_measurements(record: MetricsRecord, raw: Measurements) -> None:
    """Require that what the runner said is in the order, and within the bounds, that the engine holds it to.

    Raises:
        CheckFailed: ``METRIC_INCONSISTENT``.
    """
    for fault in _measurement_faults(raw, record.plan):
        raise CheckFailed("METRIC_INCONSISTENT", fault)
    if record.outcome == "completed" and (raw.finish_reason is None or record.output is None):
        raise CheckFailed("METRIC_INCONSISTENT", "it completed, and its generation did not end")


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


def _baseline_faults(power: PowerEvidence) -> Iterator[str]:
    if power.baseline.source == "measured":
        if power.baseline.measured_at is None or not power.cpu_domains:
            yield "an idle power was measured at no time, or by no meter"
        return
    baseline, model = power.baseline, power.model
    said = (baseline.id, baseline.idle_mw, baseline.spread_mw, baseline.measured_at)
    if said != (model.canonical_digest(), model.idle_mw * power.host_cpus, 0, None):
        yield "the declared idle power is not that of the table's row"


def _limit_faults(power: PowerEvidence, limit: PowerLimitEvidence, max_watts: float | None) -> Iterator[str]:
    # A plan's limit may be any float, and one that is too large for a double has no whole number.
    if max_watts is None or limit.cap_mw != max(1, int(min(max_watts * MW_PER_W, MAX_SAFE_INTEGER))):
        yield "the limit that was kept is not the plan's"
    if (limit.basis == "model") != (power.source == "model"):
        yield "the limit was kept by another meter"
    if limit.windows_over > limit.windows:
        yield "more windows were over the limit than were judged"


def _is_warm(record: MetricsRecord) -> bool:
    return record.sandbox is not None and record.sandbox.start == "warm"


def check_power_evidence(record: MetricsRecord, power: PowerEvidence) -> None:
    """Require that the power evidence agrees with itself and with the plan.

    Raises:
        CheckFailed: ``METRIC_INCONSISTENT``.
    """
    faults = [*_meter_faults(power), *_baseline_faults(power)]
    # The counters are read at each edge, whatever they say there; what ends early does not come to all of them.
    marks = {sample.mark for sample in power.samples} - {"tick"}
    edges = {"job", "prefill", "end"} | (set() if _is_warm(record) else {"start"})
    if record.outcome == "completed" and marks != edges:
        faults.append("the execution completed, and an edge of it has no sample")
    if power.source != record.plan.power_source:
        faults.append("the meter is not the plan's")
    if record.sandbox is not None and power.reserved_cpus != max(1, len(record.sandbox.cpus)):
        faults.append("it is of another number of CPUs than were leased to the sandbox")
    if power.limit is not None:
        faults += _limit_faults(power, power.limit, record.plan.limits.max_watts)
    if faults:
        raise CheckFailed("METRIC_INCONSISTENT", f"the power evidence: {faults[0]}")
