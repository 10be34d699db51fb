"""What one installation consists of, as values: models, images, policies, host."""

from dataclasses import dataclass

from contracts.power import PowerSource
from contracts.types import Digest
from supervisor.domain.policy import Policies
from supervisor.domain.topology import Core

__all__ = ["Backend", "HostFacts", "Installation", "InstalledModel", "PowerFacts"]


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
class PowerFacts:
    """What planning needs to know of the meter in force."""

    source: PowerSource
    busy_cpu_mw: int
    """What one reserved and busy logical CPU is taken to draw, idle share included, in milliwatts."""
    basis: str
    """Where that is from, in words."""
    fault: str | None
    """Why no power limit can be kept; None: it can."""
    sensor_fault: str | None
    """Why nothing can be executed, where a policy wants a sensor and there is none in force; None: it can."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that a request is resolved against."""

    engine_version: str
    models: tuple[InstalledModel, ...]
    backends: tuple[Backend, ...]
    policies: Policies
    host: HostFacts
    power: PowerFacts
