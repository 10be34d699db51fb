"""Reads the counters of one execution: at the edges of its phases and so often in between; keeps its power limit."""

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
    """A limit that is to be kept."""

    governor: Governor
    """It decides at every reading."""
    quota_nano: int
    """What the container was given when it was made."""
    period_us: int
    """In every such period it gets its part."""
    is_measured: bool
    """Whether a sensor says what it decides on."""
    gpu_limit_mw: int | None = None
    """What the GPU was given; None: no GPU, or its own limit."""


class PowerSampler:
    """Reads one execution's counters beside the host's."""

    def __init__(
        self,
        meter: MeterPort,
        template: PowerEvidence,
        sandbox: Sandbox,
        *,
        limit: PowerLimit | None = None,
        is_warm: bool = False,
    ) -> None:
        """Read beside an execution.

        Args:
            meter: the host's counters.
            template: what the record will hold, without samples.
            sandbox: the execution's.
            limit: to be kept.
            is_warm: whether the model was loaded before the execution, so that there is no load to be metered.
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
        """Read everything once. After `end` nothing is read any more: the control group goes with the container."""
        if self._ended:
            return
        self._log.add(mark, self._meter.read(), self._sandbox.cpu_time_ns())
        if mark == "end":
            self._ended = True
            self._throttling = self._sandbox.throttling()

    def begin_job(self) -> int:
        """Read the counters and return the moment from which the job's times count, in ns of the monotonic clock.

        From here on the power limit is kept; while the model loads its threads alone keep it.

        Raises:
            ExecutionFault: ``limit_unenforceable``, the CPU time cannot be set.
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
            # The one that ended the other: what the block raised, or the fault that ended the block.
            raise faults.exceptions[0] from None
        finally:
            self.mark("end")

    def evidence(self) -> PowerEvidence:
        """Return what the record holds."""
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
            detail = "its attributed power was over max_watts for longer than the grace; see power.limit of its record"
            raise ExecutionFault("power_limit_exceeded", detail)
        # A gap may also be the end of the container, whose counters go with it: setting its quota tells.
        if decision.quota_nano != self._quota_nano or self._log.last_cpu_time_ns is None:
            self._is_governed = self._sandbox.set_cpu_quota(decision.quota_nano, limit.period_us)
            self._quota_nano = decision.quota_nano
        if decision.verdict == "sensor_lost" and self._is_governed:
            detail = "the energy counters could not be read any more, so its power limit could not be kept"
            raise ExecutionFault("power_sensor_lost", detail)
