"""Reads the counters of one execution: at the edges of its phases, and so often in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from contracts.power import PowerEvidence, SampleMark
from supervisor.domain.meter import MeterPort
from supervisor.domain.power_log import PowerLog

__all__ = ["PowerSampler"]

MS_PER_S = 1000


class PowerSampler:
    """Reads one execution's counters beside the host's."""

    def __init__(self, meter: MeterPort, template: PowerEvidence, cpu_time_ns: Callable[[], int | None]) -> None:
        self._meter = meter
        self._cpu_time_ns = cpu_time_ns
        self._interval_s = template.interval_ms / MS_PER_S
        self._ended = False
        self.log = PowerLog(template)

    def mark(self, mark: SampleMark) -> None:
        """Read everything once. After `end` nothing is read any more: the control group goes with the container."""
        if self._ended:
            return
        self._ended = mark == "end"
        self.log.add(mark, self._meter.read(), self._cpu_time_ns())

    def begin_job(self) -> int:
        """Read the counters and return the moment from which the job's times count, in ns of the monotonic clock."""
        self.mark("job")
        started_ns = time.monotonic_ns()
        self.log.begin_job(started_ns)
        return started_ns

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read at the start, and regularly until the end of the block."""
        self.mark("start")
        ticking = asyncio.create_task(self._tick(), name="power-samples")
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
            self.mark("end")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            self.mark("tick")
