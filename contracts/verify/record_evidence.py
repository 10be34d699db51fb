"""Compare the parts of one record with each other: plan, outcome, times, and the runner's measurements. Pure.

A signature shows who made a statement. These checks find statements that no honest engine makes: an end before the
beginning, more tokens than the plan allows, a token long after the time limit. `contracts.verify.record_sandbox` and
`contracts.verify.record_power` do the same for the sandbox and the power evidence.

Durations are judged by the monotonic clock, which is never set. The wall clock may be set during an execution, forward
or back, so ``finished_at - accepted_at`` proves nothing.
"""

from collections.abc import Iterator

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics import Measurements
from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.checks import CheckFailed
from contracts.wire.units import NS_PER_S

__all__ = ["LATE_NS", "check_measurements", "check_outcome", "check_times"]

# The engine's own loop enforces the time limit, and a loaded machine delays it: by fractions of a second, as measured.
# Data sent before the limit may arrive after it by the same delay. A minute leaves room for slower machines.
LATE_NS = 60 * NS_PER_S


def check_times(record: MetricsRecord) -> str:
    """Require that the execution did not end before it was accepted; return a message.

    Raises:
        CheckFailed: ``INCONSISTENT``.
    """
    # All times have one form, in UTC, so their texts sort as the times do.
    if record.finished_at < record.accepted_at:
        raise CheckFailed("INCONSISTENT", f"it ended at {record.finished_at}, before it was accepted")
    return f"{record.accepted_at} to {record.finished_at}"


def _outcome_faults(record: MetricsRecord) -> Iterator[str]:
    code = None if record.reason is None else record.reason.code
    if (record.outcome == "completed") != (code is None):
        yield "every outcome except `completed` has a reason, and `completed` has none"
    told = {"cancelled", "aborted"}
    if code != record.outcome and (code in told or record.outcome in told):
        yield "the outcome and the reason differ"
    if record.measurements is None and (record.power, record.sandbox, record.output) != (None, None, None):
        yield "the record has observations of the execution, but no measurements of its runner"
    if record.sandbox is not None and record.power is None:
        yield "there was a sandbox, but its power evidence is missing"
    limit = None if record.power is None else record.power.limit
    if code == "power_limit_exceeded" and (limit is None or not limit.windows_over):
        yield "it was stopped for its power, but was never over the limit"


def check_outcome(record: MetricsRecord) -> None:
    """Require that the outcome, the reason and the parts that the record has agree.

    Raises:
        CheckFailed: ``METRIC_INCONSISTENT``.
    """
    for fault in _outcome_faults(record):
        raise CheckFailed("METRIC_INCONSISTENT", fault)


def _measurement_faults(raw: Measurements, plan: ExecutionPlan) -> Iterator[str]:
    times = raw.token_times_ns
    if list(times) != sorted(times):
        yield "the token times go backwards"
    if len(times) > plan.limits.max_tokens:
        yield "there are more tokens than the plan allows"
    if (raw.tokens_prompt is None) != (raw.prompt_done_ns is None):
        yield "the number of prompt tokens and the end of the prompt are given without each other"
    if raw.prompt_done_ns is None and (times or raw.finish_reason is not None):
        yield "tokens were generated before the prompt was computed"
    if raw.prompt_done_ns is not None and times and times[0] < raw.prompt_done_ns:
        yield "tokens were generated before the prompt was computed"
    if raw.tokens_prompt == 0:
        yield "the prompt has no token"
    if (raw.tokens_prompt or 0) + plan.limits.max_tokens > plan.context_tokens:
        yield "the prompt does not fit the context"
    if raw.finish_reason == "length" and len(times) != plan.limits.max_tokens:
        yield "it ended by `length`, which it did not reach"
    if raw.finish_reason == "stop" and not plan.stop:
        yield "it ended by `stop`, but the plan has no stop text"
    if max((raw.prompt_done_ns or 0, *times[-1:])) > plan.limits.timeout_s * NS_PER_S + LATE_NS:
        yield "the runner sent data long after the time limit"


def check_measurements(record: MetricsRecord, raw: Measurements) -> None:
    """Require that the runner's measurements are in the order and within the limits that the engine enforces.

    Raises:
        CheckFailed: ``METRIC_INCONSISTENT``.
    """
    for fault in _measurement_faults(raw, record.plan):
        raise CheckFailed("METRIC_INCONSISTENT", fault)
    if record.outcome == "completed" and (raw.finish_reason is None or record.output is None):
        raise CheckFailed("METRIC_INCONSISTENT", "it completed, but its generation did not end")
    if raw.prompt_done_ns is not None and record.output is None:
        raise CheckFailed("METRIC_INCONSISTENT", "the runner answered, but there is no output")
    if record.output is not None and record.output.size_bytes > record.plan.limits.output_bytes:
        raise CheckFailed("METRIC_INCONSISTENT", "the output is longer than the plan allows")
