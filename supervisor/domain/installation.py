"""What one installation consists of, as values: models, images, policies, host."""

from dataclasses import dataclass

from contracts.types import Digest
from supervisor.domain.policy import Policies

__all__ = ["Backend", "HostFacts", "Installation", "InstalledModel"]


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
    logical_cpus: tuple[int, ...]
    cpu_flags: frozenset[str]
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that a request is resolved against."""

    engine_version: str
    models: tuple[InstalledModel, ...]
    backends: tuple[Backend, ...]
    policies: Policies
    host: HostFacts
