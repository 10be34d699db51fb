"""The meter of each execution: a lost meter is reopened between executions, a GPU serves one execution at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from contracts.execution.execution_plan import ExecutionPlan
from supervisor.domain.errors import EngineError, ExecutionFault
from supervisor.domain.policies.policy import PowerPolicy
from supervisor.domain.power.energy import gpu_limit_within
from supervisor.domain.power.facts import GPU_BACKENDS, GpuLimits, PowerFacts
from supervisor.domain.power.meter import GpuLimitPort, MeterReading, MissingMeter, shorten_reason
from supervisor.domain.power.metering import Metering
from supervisor.tasks import carry_through

__all__ = ["GpuAccess", "MeterLeases"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GpuAccess:
    """The GPU that executions use."""

    open: Callable[[], Metering]
    """Opens its meter for one execution, since other processes on the card may have come or gone. Call in a thread."""
    limit: GpuLimitPort | MissingMeter
    """Its power limit, or why the limit cannot be set."""


class MeterLeases:
    """See ``metering.MeteringPort``."""

    def __init__(self, open_cpu: Callable[[], Metering], policy: PowerPolicy, gpu: GpuAccess | None = None) -> None:
        """Open the meter of executions on CPUs, and examine the GPU. Call in a thread.

        Args:
            open_cpu: opens the best CPU meter that can be used now.
            policy: `power.toml`.
            gpu: the GPU; None means that no backend here uses one.
        """
        self._open_cpu = open_cpu
        self._policy = policy
        self._gpu = gpu
        self._gpu_is_free = asyncio.Lock()
        self._current = open_cpu()
        self._has_sensor = bool(self._current.port.domains)
        self._lost: str | None = None
        self._last = {self._current.port.source: self._current}
        self._on_gpu = None if gpu is None else _look_at(gpu)

    def facts(self) -> PowerFacts:
        """Return the facts that planning needs: of the current CPU meter, and of the GPU as it was at startup."""
        return replace(self._renewed().facts(), on_gpu=self._on_gpu)

    def read(self) -> None:
        """Read the counters, so that no wrap-around is missed while no execution runs. Call in a thread."""
        self._current.port.read()

    def close(self) -> None:
        """Close the open meter and the GPU's power limit."""
        self._current.port.close()
        if self._gpu is not None and not isinstance(self._gpu.limit, MissingMeter):
            self._gpu.limit.close()

    @asynccontextmanager
    async def metering_for(self, plan: ExecutionPlan) -> AsyncIterator[Metering]:
        """See ``metering.MeteringPort``."""
        if self._gpu is not None and plan.backend in GPU_BACKENDS:
            async with self._gpu_is_free, _on_gpu(self._gpu, plan, self._policy) as metering:
                yield metering
            return
        current = _require_sensor(self._renewed())
        # The plan names the meter. A meter that appeared meanwhile would give other numbers than the planned ones; a
        # meter that was lost gives gaps.
        yield self._last.get(plan.power_source, current)

    def _renewed(self) -> Metering:
        # A sensor that was missing at startup is not looked for again.
        if not self._has_sensor:
            return self._current
        before = self._current
        if before.port.domains:
            self._lost = _describe_gap(before.port.read())
            if self._lost is None:
                return before
        # The previous meter is not closed: running executions still read it, and it holds no resources.
        found = self._open_cpu()
        if found.port.domains:
            _log.warning("the energy counters were lost and have been reopened: %s", self._lost)
        else:
            # If its zones are gone, RAPL looks as if this machine never had it, so the reason is added here.
            reason = found.fallback_reason or shorten_reason(f"RAPL was lost: {self._lost}")
            found = replace(found, fallback_reason=reason)
            if before.port.domains:
                _log.warning("energy is modelled until the energy counters can be read again: %s", reason)
        self._current = self._last[found.port.source] = found
        return found


def _look_at(gpu: GpuAccess) -> PowerFacts:
    metering = gpu.open()
    metering.port.close()
    # Whether the card can be metered depends on the other processes on it, so each execution checks again.
    facts = replace(metering.facts(), sensor_fault=None)
    if isinstance(gpu.limit, MissingMeter):
        return replace(facts, fault=facts.fault or _no_limit(gpu.limit))
    return replace(facts, gpu=GpuLimits(gpu.limit.minimum_mw, gpu.limit.maximum_mw))


def _no_limit(missing: MissingMeter) -> str:
    return f"the GPU's power limit cannot be set: {missing.reason}"


def _describe_gap(reading: MeterReading) -> str | None:
    if reading.busy_ns is not None and None not in reading.energy_uj.values():
        return None
    return reading.faults[0] if reading.faults else "a counter could not be read"


def _require_sensor(metering: Metering) -> Metering:
    if metering.sensor_fault is not None:
        raise ExecutionFault("power_sensor_required", metering.sensor_fault)
    return metering


class _GpuTurn:
    """One execution's time on the GPU. Both methods call the driver, so call them in a thread."""

    def __init__(self, gpu: GpuAccess, plan: ExecutionPlan, policy: PowerPolicy) -> None:
        self._gpu = gpu
        self._plan = plan
        self._policy = policy
        self.metering: Metering | None = None

    def begin(self) -> None:
        """Open the meter, and set the power limit that the plan leaves for the GPU.

        Raises:
            EngineError: see `MeteringPort.metering_for`.
        """
        limit, max_watts = self._gpu.limit, self._plan.limits.max_watts
        if not isinstance(limit, MissingMeter):
            # An earlier execution's limit may be left over; it would slow this execution down without a reason.
            limit.restore()
        self.metering = _require_sensor(self._gpu.open())
        if max_watts is None:
            return
        if isinstance(limit, MissingMeter):
            raise ExecutionFault("power_limit_unenforceable", _no_limit(limit))
        limit_mw = gpu_limit_within(
            max_watts,
            self._plan.scheduling.threads,
            busy_cpu_mw=self.metering.busy_cpu_mw,
            gpu=GpuLimits(limit.minimum_mw, limit.maximum_mw),
            policy=self._policy,
        )
        self.metering = replace(self.metering, gpu_limit_mw=limit.set(limit_mw))

    def end(self) -> None:
        """Restore the limit and close the meter, even if `begin` failed."""
        if not isinstance(self._gpu.limit, MissingMeter):
            try:
                self._gpu.limit.restore()
            except EngineError as error:
                _log.warning("%s: %s", error.code, error.detail)
        if self.metering is not None:
            self.metering.port.close()


@asynccontextmanager
async def _on_gpu(gpu: GpuAccess, plan: ExecutionPlan, policy: PowerPolicy) -> AsyncIterator[Metering]:
    turn = _GpuTurn(gpu, plan, policy)
    try:
        # A cancellation waits for it: a limit that is set while it is put back would stay. The driver's calls end.
        await carry_through(asyncio.to_thread(turn.begin))
        assert turn.metering is not None  # noqa: S101 - `begin` has raised otherwise
        yield turn.metering
    finally:
        await carry_through(asyncio.to_thread(turn.end))
