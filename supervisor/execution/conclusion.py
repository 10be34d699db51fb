"""The observations of one execution, and the conclusion that goes into its record."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal

from contracts.execution.isolation_receipt import IsolationReceipt
from contracts.execution.metrics_record import Outcome, Reason, SandboxObservation
from supervisor.domain.errors import EngineError
from supervisor.domain.power.metering import Metering
from supervisor.domain.records.recording import Conclusion
from supervisor.domain.sandbox.ports import Sandbox
from supervisor.domain.sandbox.transcript import Transcript
from supervisor.execution.run import Run
from supervisor.power.sampler import PowerSampler

__all__ = ["UNKNOWN", "Observed", "conclude"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Observed:
    """What has been observed of one execution so far.

    It is kept outside the control flow, so that it is available however the execution ends.
    """

    transcript: Transcript
    cores: tuple[tuple[int, ...], ...] = ()
    """The leased physical cores, each as its logical CPUs."""
    cpus: tuple[int, ...] = ()
    """The leased logical CPUs."""
    sandbox: Sandbox | None = None
    start: Literal["cold", "warm"] = "cold"
    age_ms: int = 0
    """Milliseconds since the start of a warm sandbox; 0 for a cold sandbox."""
    isolation: IsolationReceipt | None = None
    metering: Metering | None = None
    power: PowerSampler | None = None
    job_sent: bool = False


# A record is due even when the supervisor itself fails; the record then has no numbers.
UNKNOWN = Conclusion(
    outcome="failed",
    reason=Reason(code="internal_error", message="the supervisor failed; see its log for this execution_id"),
    output=None,
    measurements=None,
    power=None,
    sandbox=None,
)


def conclude(run: Run, observed: Observed, attempt: "asyncio.Task[None]") -> Conclusion:
    """Return the conclusion of an execution, from the result of its attempt."""
    try:
        attempt.result()
    except asyncio.CancelledError:
        outcome: Outcome = "aborted" if run.stop_code == "aborted" else "cancelled"
        why = (
            "the supervisor was shut down"
            if outcome == "aborted"
            else "the caller cancelled the execution or disconnected"
        )
        return _assemble(observed, outcome, Reason(code=outcome, message=why))
    except EngineError as fault:
        return _assemble(observed, "failed", Reason(code=fault.code, message=fault.detail[:1024]))
    except Exception:  # noqa: BLE001 - the task's boundary: every execution gets a record
        _log.exception("execution failed in the supervisor", extra={"execution_id": run.execution_id})
        why = "the supervisor failed; see its log for this execution_id"
        return _assemble(observed, "failed", Reason(code="internal_error", message=why))
    return _assemble(observed, "completed", None)


def _assemble(observed: Observed, outcome: Outcome, reason: Reason | None) -> Conclusion:
    measurements = observed.transcript.measurements()
    power = None if observed.metering is None else observed.metering.template(reserved_cpus=len(observed.cpus))
    if observed.power is not None:
        power = observed.power.evidence()
    return Conclusion(
        outcome=outcome,
        reason=reason,
        output=observed.transcript.output if observed.job_sent else None,
        measurements=measurements,
        power=power,
        sandbox=_observe(observed),
    )


def _observe(observed: Observed) -> SandboxObservation | None:
    sandbox, ready = observed.sandbox, observed.transcript.ready
    if sandbox is None:
        return None
    status = sandbox.exit_status
    return SandboxObservation(
        container_id=sandbox.container_id,
        image=sandbox.image_id,
        start=observed.start,
        age_ms=observed.age_ms,
        cpus=observed.cpus,
        cpu_features=None if ready is None else ready.cpu_features,
        llama_cpp_version=None if ready is None else ready.llama_cpp_version,
        isolation=observed.isolation,
        exit_code=None if status is None else status.exit_code,
        oom_killed=None if status is None else status.oom_killed,
    )
