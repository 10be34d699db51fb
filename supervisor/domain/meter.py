"""What a meter is, which one is used, and the calibration that it needs. Decisions only; the meters are adapters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from contracts.power import DomainName, PowerSource

__all__ = ["GpuLimitPort", "MeterPort", "MeterReading"]


@dataclass(frozen=True, slots=True)
class MeterReading:
    """The host's counters at one moment."""

    at_ns: int
    """On the monotonic clock (`time.monotonic_ns`)."""
    energy_uj: Mapping[DomainName, int | None]
    """Microjoules since the meter was opened, wrap-around undone; None: a gap, never a zero."""
    busy_ns: int | None
    """CPU time of everything on the host since it was opened: user, nice, system, irq, softirq; not steal, idle,
    iowait. None: not to be read."""
    faults: tuple[str, ...] = ()
    """Why there are gaps, one line each."""


class MeterPort(Protocol):
    """The energy counters of a host. Reading must be cheap (microseconds to a few milliseconds) and never raises."""

    source: PowerSource
    domains: tuple[DomainName, ...]
    """Empty for `model`."""
    update_ns: int
    """How often the slowest counter moves."""

    def read(self) -> MeterReading:
        """Read every counter once. Thread-safe."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


class GpuLimitPort(Protocol):
    """The power limit of one whole GPU."""

    minimum_mw: int
    maximum_mw: int

    def set(self, limit_mw: int) -> None:
        """Set it, after the limit that was there has been kept durably, so that a crash cannot make it stay.

        Raises:
            EngineError: ``power_limit_unenforceable``.
        """
        ...

    def restore(self) -> None:
        """Put back the limit that was there; nothing to do where none was set."""
        ...
