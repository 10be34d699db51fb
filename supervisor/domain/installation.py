"""What one installation consists of, as values: models, images, policies, host."""

from dataclasses import dataclass

from contracts.power import PowerSource
from contracts.types import Digest
from supervisor.domain.policy import Policies
from supervisor.domain.topology import Core

__all__ = ["GPU_BACKENDS", "Backend", "GpuLimits", "HostFacts", "Installation", "InstalledModel", "PowerFacts"]

# Backends that compute on a GPU, whose energy is then metered and limited too; all others compute on processors.
GPU_BACKENDS = frozenset({"cuda"})


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """One model file in the content-addressed store."""

    name: str
    quantization: str
    architecture: str
    context_length: int
    kv_bytes_per_token: int
    sha256: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Backend:
    """One build of llama.cpp: what it needs and, where one made from these very sources is there, its image."""

    name: str
    required_cpu_flags: frozenset[str]
    image_id: Digest | None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What planning needs to know of the machine."""

    processor: str
    cores: tuple[Core, ...]
    """Physical cores that may be used, by lowest CPU."""
    cpu_flags: frozenset[str]
    memory_bytes: int

    @property
    def logical_cpus(self) -> tuple[int, ...]:
        """Logical CPUs that may be used, ascending."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))


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


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that a request is resolved against."""

    engine_version: str
    models: tuple[InstalledModel, ...]
    backends: tuple[Backend, ...]
    policies: Policies
    host: HostFacts
    power: PowerFacts

    def power_of(self, backend: str) -> PowerFacts:
        """Return what meters an execution in a backend."""
        return self.power.on_gpu if backend in GPU_BACKENDS and self.power.on_gpu is not None else self.power
