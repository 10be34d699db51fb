"""A GPU's energy, from its own counter, together with the meter of the processors.

The counter is the whole card's, and nobody tells whose work it counted. So it is an execution's only where nothing else
can have been on the card:

- A card in MIG mode is never metered: all its instances share the one counter.
- A card with a process on it that is not in the execution's own container (found by its control group, so also a
  display server, a daemon of MPS, another supervisor's execution) is a gap, with the process's id as the reason. It is
  looked for when the meter is opened and at every reading, so it is seen within a tick; one that comes and goes between
  two readings is not seen. Needed for that are the host's process ids: a supervisor in a container runs in the host's
  namespace (README.md).
- Two executions of this supervisor are never on it at once, see `supervisor.power.meter_leases`.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from contracts.execution.power_evidence import DomainName, PowerSource
from supervisor.adapters.power.nvml_device import GpuError, open_device
from supervisor.domain.power.meter import MeterPort, MeterReading, MissingMeter

__all__ = ["BelongsToExecution", "EnergyDevice", "GapMeter", "NvmlMeter", "describe_sharing", "open_nvml"]

# Returns whether a process, by its id on the host, is one of a container; None stands for no container yet.
BelongsToExecution = Callable[[int, str | None], bool]
# How often the counter moves on the cards where that was measured (Volta and later).
UPDATE_NS = 100_000_000


class EnergyDevice(Protocol):
    """What the meter needs of a device; every method but `close` raises `GpuError`."""

    index: int

    def energy_uj(self) -> int:
        """Return the microjoules since some time before."""
        ...

    def is_partitioned(self) -> bool:
        """Return whether the device is cut into instances."""
        ...

    def processes(self) -> frozenset[int]:
        """Return the ids of the processes on it."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...


class NvmlMeter:
    """The meter. Its counter is the whole device's, so it is a gap once anything else was seen on the device.

    That gap stays: what the other drew is in the counter for good. A reading makes four calls of the driver, each of
    which has a deadline (`nvml_device`).
    """

    source: PowerSource = "nvml"

    def __init__(self, device: EnergyDevice, cpu: MeterPort, belongs_to_execution: BelongsToExecution) -> None:
        """Take an open device and an open meter of the processors; both are closed with this one.

        Args:
            device: the GPU.
            cpu: the processors' meter; one without domains where they are modelled.
            belongs_to_execution: returns whether a process is the execution's.

        Raises:
            GpuError: the device has no counter.
        """
        self._device = device
        self._cpu = cpu
        self._belongs_to_execution = belongs_to_execution
        self._domain: DomainName = f"gpu-{device.index}"
        self.domains: tuple[DomainName, ...] = (*cpu.domains, self._domain)
        self.update_ns = max(UPDATE_NS, cpu.update_ns)
        self._first_uj = self._last_uj = device.energy_uj()
        self._container_id: str | None = None
        self._lost: str | None = None
        self._lock = threading.Lock()

    def follow(self, container_id: str) -> None:
        """Declare which container is metered; other processes on the device then make the reading invalid."""
        self._container_id = container_id

    def read(self) -> MeterReading:
        """Read every counter once. A counter that cannot be read is a gap with its reason."""
        with self._lock:
            reading = self._cpu.read()
            faults = reading.faults
            energy_uj: int | None = None
            try:
                energy_uj = self._read_device()
            except GpuError as error:
                faults = (*faults, f"{self._domain}: {error}")
            return MeterReading(reading.at_ns, {**reading.energy_uj, self._domain: energy_uj}, reading.busy_ns, faults)

    def _read_device(self) -> int:
        if self._lost is None:
            self._lost = describe_sharing(self._device, lambda pid: self._belongs_to_execution(pid, self._container_id))
        if self._lost is not None:
            raise GpuError(self._lost)
        now_uj = self._device.energy_uj()
        if now_uj < self._last_uj:
            self._lost = "its counter went back, so the driver was loaded again"
            raise GpuError(self._lost)
        self._last_uj = now_uj
        return now_uj - self._first_uj

    def close(self) -> None:
        """Give back the device and the processors' meter."""
        self._cpu.close()
        self._device.close()


class GapMeter:
    """The meter of a GPU whose counter cannot be used: a gap at every reading, with the reason."""

    source: PowerSource = "nvml"

    def __init__(self, index: int, cpu: MeterPort, reason: str) -> None:
        """Take the device's number, an open meter of the processors, and why the device has none."""
        self._cpu = cpu
        self._domain: DomainName = f"gpu-{index}"
        self._fault = f"NVML: {reason}"
        self.domains: tuple[DomainName, ...] = (*cpu.domains, self._domain)
        self.update_ns = max(UPDATE_NS, cpu.update_ns)

    def read(self) -> MeterReading:
        """Read the processors' counters."""
        reading = self._cpu.read()
        energy_uj = {**reading.energy_uj, self._domain: None}
        return MeterReading(reading.at_ns, energy_uj, reading.busy_ns, (*reading.faults, self._fault))

    def follow(self, container_id: str) -> None:
        """Do nothing: the device is not metered."""

    def close(self) -> None:
        """Give back the processors' meter."""
        self._cpu.close()


def describe_sharing(device: EnergyDevice, belongs_to_execution: Callable[[int], bool]) -> str | None:
    """Return why a device's counter is not the engine's alone, None where it is.

    Raises:
        GpuError: the device does not answer.
    """
    if device.is_partitioned():
        return "the device is partitioned (MIG), and its counter is that of all instances"
    others = sorted(pid for pid in device.processes() if not belongs_to_execution(pid))
    if others:
        return f"another process ({others[0]}) uses the device, and its counter is that of all processes"
    return None


def open_nvml(
    cpu: MeterPort, *, index: int = 0, belongs_to_execution: BelongsToExecution = lambda _pid, _container_id: False
) -> NvmlMeter | MissingMeter:
    """Open the counter of a device that nothing else is on, or say why that cannot be done.

    Args:
        cpu: the processors' meter, closed with the one that is returned.
        index: the device's number.
        belongs_to_execution: returns whether a process is the execution's.
    """
    device = open_device(index)
    if isinstance(device, MissingMeter):
        return device
    fault: str | None
    try:
        fault = describe_sharing(device, lambda pid: belongs_to_execution(pid, None))
        if fault is None:
            return NvmlMeter(device, cpu, belongs_to_execution)
    except GpuError as error:
        fault = str(error)
    device.close()
    return MissingMeter(fault, is_there=True)
