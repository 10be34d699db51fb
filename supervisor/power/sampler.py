"""Reads the counters of one execution at phase boundaries and at intervals, and enforces its power limit."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from contracts.execution.power_evidence import PowerEvidence, SampleMark
from contracts.wire.units import MS_PER_S
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.power.governor import Governor
from supervisor.domain.power.meter import MeterPort
from supervisor.domain.power.power_log import PowerLog
from supervisor.domain.sandbox.ports import Sandbox

__all__ = ["PowerLimit", "PowerSampler"]


@dataclass(frozen=True, slots=True)
class PowerLimit:
    """The power limit of one execution."""

    governor: Governor
    """Decides at every reading."""
    quota_nano: int
    """Quota that the container was created with."""
    period_us: int
    """Period in which the kernel hands out the quota."""
    is_measured: bool
    """Whether the governor decides on measured energy; otherwise on modelled energy."""
    gpu_limit_mw: int | None = None
    """Power limit set on the GPU; None means that there is no GPU or that its own limit applies."""


class PowerSampler:
    """Reads the counters of one execution together with the host's."""

    def __init__(
        self,
        meter: MeterPort,
        template: PowerEvidence,
        sandbox: Sandbox,
        *,
        limit: PowerLimit | None = None,
        is_warm: bool = False,
    ) -> None:
        """Prepare to sample an execution.

        Args:
            meter: the host's counters.
            template: the record's power evidence, still without samples.
            sandbox: the execution's sandbox.
            limit: the power limit to enforce; None means that there is none.
            is_warm: whether the model was loaded before the execution, so that no loading is metered.
        """
        self._meter = meter
        self._sandbox = sandbox
        self._interval_ms = template.interval_ms
        self._limit = limit
        self._is_warm = is_warm
        self._quota_nano = None if limit is None else limit.quota_nano
        self._is_governed = False
        self._ended = False
        self._throttling: tuple[int, int] | None = None
        self._log = PowerLog(template)
        meter.follow(sandbox.container_id)

    def mark(self, mark: SampleMark) -> None:
        """Read all counters once. After `end` this does nothing: the control group ends with the container."""
        if self._ended:
            return
        self._log.add(mark, self._meter.read(), self._sandbox.cpu_time_ns())
        if mark == "end":
            self._ended = True
            self._throttling = self._sandbox.throttling()

    def begin_job(self) -> int:
        """Read the counters and return the monotonic time in ns from which the job's times count.

        From now on the governor enforces the power limit. While the model loads, the number of threads alone does.

        Raises:
            ExecutionFault: ``limit_unenforceable`` if the CPU time cannot be set.
        """
        self.mark("job")
        if self._limit is not None:
            self._is_governed = True
            self._govern(self._limit)
        started_ns = time.monotonic_ns()
        self._log.begin_job(started_ns)
        return started_ns

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read at the start, and regularly until the end of the block.

        Raises:
            ExecutionFault: ``power_limit_exceeded`` or ``power_sensor_lost``; the block is cancelled.
        """
        if not self._is_warm:
            self.mark("start")
        try:
            async with asyncio.TaskGroup() as group:
                ticking = group.create_task(self._tick(), name="power-samples")
                try:
                    yield
                finally:
                    ticking.cancel()
        except BaseExceptionGroup as faults:
            # The first exception is the cause: the block raised it, or it is the fault that ended the block.
            raise faults.exceptions[0] from None
        finally:
            self.mark("end")

    def evidence(self) -> PowerEvidence:
        """Return the record's power evidence."""
        if self._limit is None:
            return self._log.evidence(None)
        throttled_ns, throttled_periods = self._throttling or (None, None)
        limit = self._limit.governor.evidence(
            basis="measured" if self._limit.is_measured else "model",
            throttled_ns=throttled_ns,
            throttled_periods=throttled_periods,
            gpu_limit_mw=self._limit.gpu_limit_mw,
        )
        return self._log.evidence(limit)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._interval_ms / MS_PER_S)
            self.mark("tick")
            if self._limit is not None and self._is_governed and not self._ended:
                self._govern(self._limit)

    def _govern(self, limit: PowerLimit) -> None:
        decision = limit.governor.observe(
            self._log.last_at_ns, energy_uj=self._log.attributed_uj(), cpu_time_ns=self._log.last_cpu_time_ns
        )
        if decision.verdict == "exceeded":
            detail = "the power exceeded max_watts for longer than the grace period; see power.limit in the record"
            raise ExecutionFault("power_limit_exceeded", detail)
        # A gap may also mean that the container has ended together with its counters. Setting its quota shows which.
        if decision.quota_nano != self._quota_nano or self._log.last_cpu_time_ns is None:
            self._is_governed = self._sandbox.set_cpu_quota(decision.quota_nano, limit.period_us)
            self._quota_nano = decision.quota_nano
        if decision.verdict == "sensor_lost" and self._is_governed:
            detail = "the energy counters could no longer be read, so the power limit could not be enforced"
            raise ExecutionFault("power_sensor_lost", detail)
