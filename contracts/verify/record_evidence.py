"""Hold the parts of one record against each other: plan, outcome, times, and what the runner said. Pure.

A signature says who made a statement. These are the statements that no engine makes, whoever signed them: an end before
the beginning, more tokens than were allowed, a token after the time was up. `contracts.verify.record_sandbox` and
`contracts.verify.record_power` say the same of the sandbox and of the power evidence.

What is told from the record's own clocks is told from the monotonic one, which is never set. The wall clock may be set
in the middle of an execution, forward or back, so that nothing can be concluded from ``finished_at - accepted_at``.
"""

from collections.abc import Iterator

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics import Measurements
from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.checks import CheckFailed
from contracts.wire.units import NS_PER_S

__all__ = ["LATE_NS", "check_measurements", "check_outcome", "check_times"]

# The engine's own loop keeps the time limit, and is kept waiting by a loaded machine: fractions of a second were seen.
# What was sent before the limit may come in after it by as much. A minute is for machines that are worse.
LATE_NS = 60 * NS_PER_S


def check_times(record: MetricsRecord) -> str:
    """Return a message that the execution did not end before it was accepted.

    Raises:
        CheckFailed: ``INCONSISTENT``.
    """
    # The times are of one form, in UTC, so that their order is that of their texts.
    if record.finished_at < record.accepted_at:
        raise CheckFailed("INCONSISTENT", f"it ended at {record.finished_at}, before it was accepted")
    return f"{record.accepted_at} to {record.finished_at}"


def _outcome_faults(record: MetricsRecord) -> Iterator[str]:
    code = None if record.reason is None else record.reason.code
    if (record.outcome == "completed") != (code is None):
        yield "a reason belongs to exactly those outcomes that are not `completed`"
    told = {"cancelled", "aborted"}
    if code != record.outcome and (code in told or record.outcome in told):
        yield "outcome and reason are not the same"
    if record.measurements is None and (record.power, record.sandbox, record.output) != (None, None, None):
        yield "something was kept of the execution, and not what its runner said"
    if record.sandbox is not None and record.power is None:
        yield "there was a sandbox, and its counters are left out"
    limit = None if record.power is None else record.power.limit
    if code == "power_limit_exceeded" and (limit is None or not limit.windows_over):
        yield "it was stopped for its power, and was never over the limit"


def check_outcome(record: MetricsRecord) -> None:
    """Require that outcome, reason and what is there at all belong together.

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
        yield "prompt tokens and the time of their end belong together"
    if raw.prompt_done_ns is None and (times or raw.finish_reason is not None):
        yield "tokens were generated before the prompt was computed"
    if raw.prompt_done_ns is not None and times and times[0] < raw.prompt_done_ns:
        yield "tokens were generated before the prompt was computed"
    if raw.tokens_prompt == 0:
        yield "a prompt without a token was computed"
    if (raw.tokens_prompt or 0) + plan.limits.max_tokens > plan.context_tokens:
        yield "the prompt does not fit the context"
    if raw.finish_reason == "length" and len(times) != plan.limits.max_tokens:
        yield "it ended by a length that was not reached"
    if raw.finish_reason == "stop" and not plan.stop:
        yield "it ended by a stop that the plan does not have"
    if max((raw.prompt_done_ns or 0, *times[-1:])) > plan.limits.timeout_s * NS_PER_S + LATE_NS:
        yield "the runner was heard long after the time limit"


def check_measurements(record: MetricsRecord, raw: Measurements) -> None:
    """Require that what the runner said is in the order, and within the bounds, that the engine holds it to.

    Raises:
        CheckFailed: ``METRIC_INCONSISTENT``.
    """
    for fault in _measurement_faults(raw, record.plan):
        raise CheckFailed("METRIC_INCONSISTENT", fault)
    if record.outcome == "completed" and (raw.finish_reason is None or record.output is None):
        raise CheckFailed("METRIC_INCONSISTENT", "it completed, and its generation did not end")
    if raw.prompt_done_ns is not None and record.output is None:
        raise CheckFailed("METRIC_INCONSISTENT", "the runner answered a job that was not sent")
    if record.output is not None and record.output.size_bytes > record.plan.limits.output_bytes:
        raise CheckFailed("METRIC_INCONSISTENT", "the text is longer than all that the runner was allowed to write")
