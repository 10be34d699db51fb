"""The meter in force, with everything that is needed to turn its readings into watts."""

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

    def metering_for(self, plan: ExecutionPlan) -> AbstractAsyncContextManager["Metering"]:
        """Return the metering of an execution for the duration of the context; it is not reopened meanwhile.

        A GPU is leased to one execution at a time, and its power limit is set as the plan requires.

        Raises:
            EngineError: ``power_sensor_required``, ``power_limit_unenforceable`` or ``power_limit_not_restored``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Metering:
    """The chosen meter with its model, baseline and limits."""

    port: MeterPort
    model: PowerModel
    """The table's row for this processor."""
    baseline: PowerBaseline
    """Power of the idle machine."""
    fallback_reason: str | None
    """Why a better meter is not used; None means that this machine has no better meter."""
    host_cpus: int
    """Logical CPUs of the host."""
    interval_ms: int
    """Time between two ticks."""

    quota_fault: str | None
    """Why the supervisor cannot set the CPU time of a container; None means that it can."""
    sensor_fault: str | None
    """What is missing if a policy requires a sensor and none is in force; None means that nothing is missing."""
    measured_cpu_mw: int | None
    """Calibrated power of a busy logical CPU beyond the idle machine; None means that it was not measured."""
    gpu_limit_mw: int | None = None
    """Power limit set on the GPU for this execution; None means that there is no GPU or that its own limit applies."""

    @property
    def _idle_cpu_mw(self) -> int:
        return self.baseline.idle_mw // self.host_cpus if self.port.domains else self.model.idle_mw

    @property
    def busy_cpu_mw(self) -> int:
        """Assumed power of one reserved and busy logical CPU, including its idle share."""
        if self.measured_cpu_mw is None:
            return self.model.busy_mw
        return max(1, self._idle_cpu_mw + self.measured_cpu_mw)

    def facts(self) -> PowerFacts:
        """Return the facts that planning needs. With a model, the number of threads alone enforces a limit."""
        # A GPU's meter says nothing about CPUs: their power is measured by the processor's counters, or modelled.
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
        """Return the record's power evidence, still without samples.

        Args:
            reserved_cpus: logical CPUs leased to the execution.
            interval_ms: time between two ticks; None means the policy's value.
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
        """Return the governor that enforces the limit of one execution.

        With a model, a CPU draws exactly the table's power. With a sensor, the governor starts from an upper bound: the
        power of a busy CPU times the table's `high_percent`.
        """
        dynamic_mw = self.busy_cpu_mw - self._idle_cpu_mw
        if self.port.domains:
            dynamic_mw = dynamic_mw * self.model.high_percent // 100
        else:
            # Cancels the governor's own caution: it is meant for an unknown power, and the model's power is known.
            dynamic_mw = dynamic_mw * policy.start_percent // 100
        return Governor(
            policy,
            cap_mw=max(1, int(max_watts * MW_PER_W)),
            idle_mw=self._idle_cpu_mw * reserved_cpus,
            quota_max_nano=cores * NANO_CPUS_PER_CPU,
            update_ns=self.port.update_ns,
            high_mw_per_cpu=max(1, dynamic_mw),
        )
