"""The interface of a meter, and the choice of a meter. Decisions only; the meters are adapters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from contracts.execution.power_evidence import DomainName, PowerSource
from supervisor.domain.errors import Refusal

__all__ = ["GpuLimitPort", "MeterChoice", "MeterPort", "MeterReading", "MissingMeter", "choose_meter", "shorten_reason"]

# Maximum length in a record; a message of a driver or a damaged file may be longer.
MAX_REASON_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class MeterReading:
    """The host's counters at one moment."""

    at_ns: int
    """Monotonic time (`time.monotonic_ns`)."""
    energy_uj: Mapping[DomainName, int | None]
    """Microjoules since the meter was opened, with wrap-around corrected; None means a gap, which is never a zero."""
    busy_ns: int | None
    """CPU time of everything on the host since the meter was opened: user, nice, system, irq, softirq; not steal, idle,
    iowait. None means that it could not be read."""
    faults: tuple[str, ...] = ()
    """The reason of each gap, one line each."""


class MeterPort(Protocol):
    """The energy counters of a host. Reading must be cheap (microseconds to a few milliseconds) and never raises."""

    source: PowerSource
    domains: tuple[DomainName, ...]
    """Metered domains; empty for `model`."""
    update_ns: int
    """Time between two steps of the slowest counter."""

    def read(self) -> MeterReading:
        """Read every counter once. Thread-safe."""
        ...

    def follow(self, container_id: str) -> None:
        """Declare which container is metered; other processes on the device then make the reading invalid."""
        ...

    def close(self) -> None:
        """Close the counters; never raises."""
        ...


class GpuLimitPort(Protocol):
    """The power limit of one whole GPU."""

    minimum_mw: int
    maximum_mw: int

    def set(self, limit_mw: int) -> int:
        """Set the limit. The previous limit is stored durably first, so that a crash cannot make the new one stay.

        Returns:
            the limit in force: ``limit_mw``, or the device's own limit if that is lower.

        Raises:
            EngineError: ``power_limit_unenforceable``.
        """
        ...

    def restore(self) -> None:
        """Restore the previous limit; does nothing if none was set.

        Raises:
            EngineError: ``power_limit_not_restored``.
        """
        ...

    def close(self) -> None:
        """Close the device; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class MissingMeter:
    """Why a sensor cannot be used."""

    reason: str
    is_there: bool
    """Whether the machine has such a sensor, which could be made usable."""


@dataclass(frozen=True, slots=True)
class MeterChoice:
    """The meter of an execution."""

    source: PowerSource
    with_rapl: bool
    """Whether RAPL meters the processors; otherwise their energy is modelled."""
    fallback_reason: str | None
    """Why a better meter is not used; None means that this machine has no better meter."""


def shorten_reason(reason: str) -> str:
    """Return the reason, shortened to the maximum length in a record."""
    return reason if len(reason) <= MAX_REASON_CHARACTERS else f"{reason[: MAX_REASON_CHARACTERS - 3]}..."


def choose_meter(
    *,
    needs_gpu: bool,
    rapl: MissingMeter | None,
    gpu: MissingMeter | None,
    calibration_fault: str | None,
    require_sensor: bool,
) -> MeterChoice:
    """Return the best meter that can be used.

    An execution on a GPU always gets `nvml`. No model covers a GPU, so an unreadable counter becomes a gap with its
    reason. RAPL needs a calibration, because nothing can be attributed without an idle baseline.

    Args:
        needs_gpu: whether the execution runs on a GPU.
        rapl: why RAPL cannot be used; None means that it can.
        gpu: why the GPU's counter cannot be used; None means that it can.
        calibration_fault: why there is no valid calibration; None means that there is one.
        require_sensor: whether the policy refuses executions that are not measured.

    Raises:
        Refusal: ``power_sensor_required``.
    """
    cpu_reason = None if calibration_fault is None else shorten_reason(calibration_fault)
    if rapl is not None:
        cpu_reason = shorten_reason(f"RAPL: {rapl.reason}") if rapl.is_there else None
    with_rapl = rapl is None and calibration_fault is None
    if needs_gpu:
        choice = MeterChoice("nvml", with_rapl, cpu_reason if gpu is None else shorten_reason(f"NVML: {gpu.reason}"))
        is_measured = gpu is None
    else:
        choice = MeterChoice("rapl" if with_rapl else "model", with_rapl, cpu_reason)
        is_measured = with_rapl
    if require_sensor and not is_measured:
        why = choice.fallback_reason or "this machine has no energy counter that the engine can read (RAPL)"
        detail = f"policies/power.toml sets require_sensor, but no sensor can be used: {why}; see: weos-engine doctor"
        raise Refusal("power_sensor_required", detail)
    return choice
