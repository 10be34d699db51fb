"""What a card says of itself, and its energy counter; nothing here changes a card."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pynvml

from supervisor.adapters.power.nvml_device import NvmlDevice, open_device
from supervisor.domain.power.meter import MissingMeter

__all__ = ["CounterLog", "counter_log", "describe_card", "describe_steps", "find_card", "process_memory", "watts"]

POLL_S = 0.001
# What must be the same before and after.
STATE: dict[str, Callable[[Any], object]] = {
    "power_limit_mw": pynvml.nvmlDeviceGetPowerManagementLimit,
    "default_power_limit_mw": pynvml.nvmlDeviceGetPowerManagementDefaultLimit,
    "enforced_power_limit_mw": pynvml.nvmlDeviceGetEnforcedPowerLimit,
    "persistence_mode": pynvml.nvmlDeviceGetPersistenceMode,
    "compute_mode": pynvml.nvmlDeviceGetComputeMode,
    "mig_mode": pynvml.nvmlDeviceGetMigMode,
    "ecc_mode": pynvml.nvmlDeviceGetEccMode,
    "application_sm_mhz": lambda card: pynvml.nvmlDeviceGetApplicationsClock(card, pynvml.NVML_CLOCK_SM),
    "application_memory_mhz": lambda card: pynvml.nvmlDeviceGetApplicationsClock(card, pynvml.NVML_CLOCK_MEM),
    "largest_sm_mhz": lambda card: pynvml.nvmlDeviceGetMaxClockInfo(card, pynvml.NVML_CLOCK_SM),
    "processes": lambda card: len(pynvml.nvmlDeviceGetComputeRunningProcesses(card)),
}


def find_card() -> NvmlDevice | MissingMeter:
    """Open the first card as the product does, or say why there is none."""
    return open_device()


def _told(call: Callable[[], object]) -> object:
    try:
        value = call()
    except pynvml.NVMLError as error:
        return f"not told: {error}"
    return value.decode() if isinstance(value, bytes) else value


def describe_card(device: NvmlDevice) -> dict[str, object]:
    """Return name, driver and state of an open card."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(device.index)
    return {
        "name": device.name,
        "driver": _told(pynvml.nvmlSystemGetDriverVersion),
        "cuda": _told(pynvml.nvmlSystemGetCudaDriverVersion),
        "memory_bytes": _told(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)),
        "power_limit_range_mw": _told(device.limit_range_mw),
        "state": {name: _told(lambda ask=ask: ask(handle)) for name, ask in STATE.items()},  # type: ignore[misc] # bound at once
    }


def process_memory(device: NvmlDevice, pid: int) -> int | None:
    """Return the bytes that a process has on the card, or None where it is not told."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(device.index)
    for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        if each.pid == pid:
            return None if each.usedGpuMemory is None else int(each.usedGpuMemory)
    return None


class CounterLog:
    """Every step of the energy counter: when it was first seen, and its value in microjoules."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.readings = 0


@contextmanager
def counter_log(device: NvmlDevice) -> Iterator[CounterLog]:
    """Poll the counter in a thread while the context lasts."""
    log, stop = CounterLog(), threading.Event()

    def poll() -> None:
        while not stop.is_set():
            value = device.energy_uj()
            log.readings += 1
            if not log.steps or log.steps[-1][1] != value:
                log.steps.append((time.monotonic_ns(), value))
            time.sleep(POLL_S)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield log
    finally:
        stop.set()
        thread.join(5)


def describe_steps(log: CounterLog) -> dict[str, object]:
    """Return how often the counter moves, and by how much; the first step began before anybody looked."""
    steps = log.steps[1:]
    between_ms = [(later - earlier) / 1e6 for (earlier, _), (later, _) in pairwise(steps)]
    moved_mj = [(later - earlier) / 1e3 for (_, earlier), (_, later) in pairwise(steps)]
    if len(between_ms) < 2:
        return {"readings": log.readings, "steps": len(steps)}
    return {
        "readings": log.readings,
        "steps": len(steps),
        "ms": {"median": statistics.median(between_ms), "least": min(between_ms), "most": max(between_ms)},
        "mj": {"median": statistics.median(moved_mj), "least": min(moved_mj), "most": max(moved_mj)},
    }


def watts(log: CounterLog) -> float | None:
    """Return the mean power from the first whole step to the last, in watts."""
    if len(log.steps) < 3:
        return None
    (began_ns, began_uj), (ended_ns, ended_uj) = log.steps[1], log.steps[-1]
    return (ended_uj - began_uj) * 1e3 / (ended_ns - began_ns)
