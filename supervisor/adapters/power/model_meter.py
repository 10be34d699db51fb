"""The meter of a machine without a sensor: it reads nothing, since the model needs only the execution's CPU time."""

import time
from collections.abc import Callable

from contracts.execution.power_evidence import DomainName, PowerSource
from supervisor.adapters.kernel.proc_stat import TICK_NS
from supervisor.domain.power.meter import MeterReading

__all__ = ["ModelMeter"]


class ModelMeter:
    """A meter without domains. Its time is that of a tick: control groups may count no finer."""

    source: PowerSource = "model"
    domains: tuple[DomainName, ...] = ()
    update_ns = TICK_NS

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Take the clock that readings are dated by, in nanoseconds."""
        self._clock = clock

    def read(self) -> MeterReading:
        """Return the time."""
        return MeterReading(at_ns=self._clock(), energy_uj={}, busy_ns=None)

    def follow(self, container_id: str) -> None:
        """Do nothing: an execution's CPU time is counted by its control group."""

    def close(self) -> None:
        """Do nothing: nothing was opened."""
