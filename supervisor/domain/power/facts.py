"""The facts about power on this machine that planning needs: the meter in force and the limits it can enforce."""

from dataclasses import dataclass

from contracts.execution.power_evidence import PowerSource

__all__ = ["GPU_BACKENDS", "GpuLimits", "PowerFacts"]


# Backends that compute on a GPU, whose energy is then metered and limited too. All others compute on CPUs.
GPU_BACKENDS = frozenset({"cuda"})


@dataclass(frozen=True, slots=True)
class GpuLimits:
    """The range of power limits that a GPU accepts."""

    minimum_mw: int
    maximum_mw: int


@dataclass(frozen=True, slots=True)
class PowerFacts:
    """The facts about the meter in force that planning needs."""

    source: PowerSource
    busy_cpu_mw: int
    """Assumed power of one reserved and busy logical CPU, including its idle share, in milliwatts."""
    idle_cpu_mw: int
    """Assumed power of one reserved and idle logical CPU, in milliwatts."""
    basis: str
    """The source of both, in words."""
    fault: str | None
    """Why no power limit can be enforced; None means that limits can be enforced."""
    sensor_fault: str | None
    """Why every execution is refused: a policy requires a sensor and none is in force. None means no such fault."""
    gpu: GpuLimits | None = None
    """Limits of the GPU in use; None means that there is none, or that ``fault`` says why it cannot be limited."""
    on_gpu: "PowerFacts | None" = None
    """The facts for executions on a GPU, beside these for executions on CPUs; None: no backend here uses a GPU."""
