"""What a meter is, which one is used, and the calibration that it needs. Decisions only; the meters are adapters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from contracts.execution.power_evidence import DomainName, PowerSource
from supervisor.domain.errors import Refusal

__all__ = ["GpuLimitPort", "MeterChoice", "MeterPort", "MeterReading", "MissingMeter", "choose_meter", "shorten_reason"]

# A record has room for no more; a driver or a damaged file may say a lot.
MAX_REASON_CHARACTERS = 256


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

    def follow(self, container_id: str) -> None:
        """Take the processes of a container for the execution's own, where a device must be its alone to be metered."""
        ...

    def close(self) -> None:
        """Give back what was opened; never raises."""
        ...


class GpuLimitPort(Protocol):
    """The power limit of one whole GPU."""

    minimum_mw: int
    maximum_mw: int

    def set(self, limit_mw: int) -> int:
        """Set it, after the limit that was there has been kept durably, so that a crash cannot make it stay.

        Returns:
            the limit in force: as asked, or the device's own where that is lower.

        Raises:
            EngineError: ``power_limit_unenforceable``.
        """
        ...

    def restore(self) -> None:
        """Put back the limit that was there; nothing to do where none was set.

        Raises:
            EngineError: ``power_limit_not_restored``.
        """
        ...

    def close(self) -> None:
        """Give back the device; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class MissingMeter:
    """Why a sensor cannot be used."""

    reason: str
    is_there: bool
    """Whether the machine has one that could be made usable."""


@dataclass(frozen=True, slots=True)
class MeterChoice:
    """Which meter an execution gets."""

    source: PowerSource
    with_rapl: bool
    """Whether the processors are metered by RAPL; otherwise their part is the model's."""
    fallback_reason: str | None
    """Why a better one is not used; None: there is none here, or this is the best."""


def shorten_reason(reason: str) -> str:
    """Return a reason as a record has room for it."""
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

    An execution on a GPU has `nvml` whatever is there: no model speaks of a GPU, so what cannot be read is a gap with
    the reason. RAPL needs a calibration, for without an idle baseline nothing can be attributed.

    Args:
        needs_gpu: whether the execution runs on a GPU.
        rapl: why RAPL cannot be used; None: it can.
        gpu: why the GPU's counter cannot be used; None: it can.
        calibration_fault: why there is no calibration that counts; None: there is.
        require_sensor: the policy's word that nothing runs unmeasured.

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
        detail = f"policies/power.toml says require_sensor, and {why}; see: weos-engine doctor"
        raise Refusal("power_sensor_required", detail)
    return choice
