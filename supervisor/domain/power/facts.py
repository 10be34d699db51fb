"""What planning knows about power on this machine: the meter in force and the limits it can keep."""

from dataclasses import dataclass

from contracts.execution.power_evidence import PowerSource

__all__ = ["GPU_BACKENDS", "GpuLimits", "PowerFacts"]


# Backends that compute on a GPU, whose energy is then metered and limited too; all others compute on processors.
GPU_BACKENDS = frozenset({"cuda"})


@dataclass(frozen=True, slots=True)
class GpuLimits:
    """The power limits that a GPU takes."""

    minimum_mw: int
    maximum_mw: int


@dataclass(frozen=True, slots=True)
class PowerFacts:
    """What planning needs to know of the meter in force."""

    source: PowerSource
    busy_cpu_mw: int
    """What one reserved and busy logical CPU is taken to draw, idle share included, in milliwatts."""
    idle_cpu_mw: int
    """What one reserved and idle logical CPU is taken to draw."""
    basis: str
    """Where both are from, in words."""
    fault: str | None
    """Why no power limit can be kept; None: it can."""
    sensor_fault: str | None
    """Why nothing can be executed, where a policy wants a sensor and there is none in force; None: it can."""
    gpu: GpuLimits | None = None
    """What the GPU takes that is executed on; None: none is, or ``fault`` says why none can be limited."""
    on_gpu: "PowerFacts | None" = None
    """The same of executions on a GPU, where this is of those on CPUs; None: no backend here computes on one."""
