"""An installation as values: models, images, policies and host."""

from dataclasses import dataclass

from contracts.execution.execution_plan import ModelSignature, TensorTypeCount
from contracts.wire.types import Digest
from supervisor.domain.models.cache_shape import CacheShape
from supervisor.domain.policies.policy import Policies
from supervisor.domain.power.facts import GPU_BACKENDS, PowerFacts
from supervisor.domain.scheduling.topology import Core

__all__ = [
    "Backend",
    "HostFacts",
    "Installation",
    "InstalledModel",
]


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """One model file in the content-addressed store."""

    name: str
    quantization: str
    architecture: str
    context_length: int
    cache: CacheShape
    sha256: Digest
    size_bytes: int
    mixture: tuple[TensorTypeCount, ...]
    """The types of the weights, the most frequent first."""
    chat_template: Digest | None
    """SHA-256 of the chat template in the file; None: the file carries none."""
    signature: ModelSignature | None
    """The verified signature of the file; None: it was installed without one."""
    parent: Digest | None = None
    """The file that this one was quantized from; None: it was added."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One build of llama.cpp: the CPU flags it needs, and its image."""

    name: str
    required_cpu_flags: frozenset[str]
    image_id: Digest | None
    """The image that was built from this engine's own sources; None means that there is no such image."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The facts about the machine that planning needs."""

    processor: str
    cores: tuple[Core, ...]
    """Physical cores that may be used, sorted by their lowest CPU."""
    cpu_flags: frozenset[str]
    memory_bytes: int

    @property
    def logical_cpus(self) -> tuple[int, ...]:
        """Logical CPUs that may be used, ascending."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))


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
        """Return the power facts that apply to an execution in a backend."""
        return self.power.on_gpu if backend in GPU_BACKENDS and self.power.on_gpu is not None else self.power
