"""The meter in force, with all that its readings need to become watts."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.power_evidence import PowerBaseline, PowerEvidence, PowerModel
from contracts.wire.units import MW_PER_W, NANO_CPUS_PER_CPU
from supervisor.domain.policies.policy import GovernorPolicy
from supervisor.domain.power.facts import PowerFacts
from supervisor.domain.power.governor import Governor
from supervisor.domain.power.meter import MeterPort

__all__ = ["Metering", "MeteringPort"]


class MeteringPort(Protocol):
    """Gives every execution its meter."""

    def lease(self, plan: ExecutionPlan) -> AbstractAsyncContextManager["Metering"]:
        """Return what meters an execution for as long as the context lasts; within, nothing of it is opened anew.

        A GPU is leased to one execution at a time, and has the limit that the plan leaves it.

        Raises:
            EngineError: ``power_sensor_required``, ``power_limit_unenforceable`` or ``power_limit_not_restored``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Metering:
    """What was chosen."""

    port: MeterPort
    model: PowerModel
    """The table's row for this processor."""
    baseline: PowerBaseline
    """What the idle machine draws."""
    fallback_reason: str | None
    """Why a better meter is not used."""
    host_cpus: int
    """Logical CPUs of the host."""
    interval_ms: int
    """Between two ticks."""

    quota_fault: str | None
    """Why the CPU time of a container cannot be set from here; None: it can."""
    sensor_fault: str | None
    """What is missing, where a policy wants a sensor and none is in force; None: nothing is."""
    measured_cpu_mw: int | None
    """What a busy logical CPU draws beyond the idle machine, as calibrated; None: nothing was measured."""
    gpu_limit_mw: int | None = None
    """Power limit that the GPU has been given for this execution; None: no GPU, or its own limit."""

    @property
    def _idle_cpu_mw(self) -> int:
        return self.baseline.idle_mw // self.host_cpus if self.port.domains else self.model.idle_mw

    @property
    def busy_cpu_mw(self) -> int:
        """What one reserved and busy logical CPU is taken to draw, idle share included."""
        if self.measured_cpu_mw is None:
            return self.model.busy_mw
        return max(1, self._idle_cpu_mw + self.measured_cpu_mw)

    def facts(self) -> PowerFacts:
        """Return what planning needs. By the model a limit holds by the number of threads alone."""
        # A GPU's meter says nothing of CPUs: theirs is measured by the processor's counters, or modelled.
        basis = f"model, row '{self.model.family}'" if self.measured_cpu_mw is None else "rapl, as calibrated"
        return PowerFacts(
            source=self.port.source,
            busy_cpu_mw=self.busy_cpu_mw,
            idle_cpu_mw=self._idle_cpu_mw,
            basis=basis,
            fault=self.quota_fault if self.port.domains else None,
            sensor_fault=self.sensor_fault,
        )

    def template(self, *, reserved_cpus: int, interval_ms: int | None = None) -> PowerEvidence:
        """Return what the record will hold, without samples.

        Args:
            reserved_cpus: logical CPUs leased to the execution.
            interval_ms: between two ticks; None: the policy's.
        """
        return PowerEvidence(
            source=self.port.source,
            attribution="weos.attribution/2",
            domains=self.port.domains,
            exclusive=False,
            interval_ms=interval_ms or self.interval_ms,
            update_ns=self.port.update_ns,
            model=self.model,
            baseline=self.baseline,
            fallback_reason=self.fallback_reason,
            host_cpus=self.host_cpus,
            reserved_cpus=reserved_cpus,
            samples=(),
            limit=None,
        )

    def build_governor(self, policy: GovernorPolicy, *, max_watts: float, cores: int, reserved_cpus: int) -> Governor:
        """Return what keeps the limit of one execution.

        By the model a CPU draws what the table says, neither more nor less. Where a sensor will say what it draws, the
        governor starts from the table's upper bound, as a part more than what was measured.
        """
        dynamic_mw = self.busy_cpu_mw - self._idle_cpu_mw
        if self.port.domains:
            dynamic_mw = dynamic_mw * self.model.high_percent // 100
        else:
            # The governor's own caution is for what is not known.
            dynamic_mw = dynamic_mw * policy.start_percent // 100
        return Governor(
            policy,
            cap_mw=max(1, int(max_watts * MW_PER_W)),
            idle_mw=self._idle_cpu_mw * reserved_cpus,
            quota_max_nano=cores * NANO_CPUS_PER_CPU,
            update_ns=self.port.update_ns,
            high_mw_per_cpu=max(1, dynamic_mw),
        )
