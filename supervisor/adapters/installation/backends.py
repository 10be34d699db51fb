"""Backend definitions: which cmake settings make which backend, and which processor it needs."""

import tomllib
from pathlib import Path

from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract, Many
from contracts.wire.errors import ContractError
from contracts.wire.types import BackendName
from supervisor.domain.errors import SetupError

__all__ = ["BackendDefinition", "default_source_root", "load_backends", "require_backend"]


class _Common(Contract):
    cmake: dict[str, str]


class _Backend(_Common):
    required_cpu_flags: Many[str]
    ggml_features: Many[str]


class _Definitions(Contract):
    """`runtime-image/backends.toml`."""

    common: _Common
    backends: dict[BackendName, _Backend]


class BackendDefinition(Contract):
    """One backend, with the settings that all have in common."""

    name: BackendName
    """Its name."""
    required_cpu_flags: Many[str]
    """Names of /proc/cpuinfo that a host must have."""
    cmake: dict[str, str]
    """Settings by name."""
    ggml_features: Many[str]
    """What ggml reports of itself in this backend."""

    def cmake_arguments(self) -> list[str]:
        """Return the settings as cmake takes them."""
        return [f"-D{name}={value}" for name, value in sorted(self.cmake.items())]


def default_source_root() -> Path:
    """Return the checkout that this package lies in."""
    return Path(__file__).resolve().parents[3]


def load_backends(source_root: Path) -> dict[str, BackendDefinition]:
    """Read every definition.

    Raises:
        SetupError: definition_invalid.
    """
    path = source_root / "runtime-image" / "backends.toml"
    try:
        definitions = _Definitions.parse(canonical_bytes(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, ContractError) as error:
        message = f"{path} is missing or not what set-up expects ({error}). Restore it: git checkout -- {path}"
        raise SetupError("definition_invalid", message) from error
    return {
        name: BackendDefinition(
            name=name,
            required_cpu_flags=backend.required_cpu_flags,
            cmake=definitions.common.cmake | backend.cmake,
            ggml_features=backend.ggml_features,
        )
        for name, backend in definitions.backends.items()
    }


def require_backend(source_root: Path, name: str) -> BackendDefinition:
    """Return one definition.

    Raises:
        SetupError: backend_unknown or definition_invalid.
    """
    backends = load_backends(source_root)
    if name not in backends:
        message = f"there is no backend {name!r}; runtime-image/backends.toml defines {', '.join(sorted(backends))}"
        raise SetupError("backend_unknown", message)
    return backends[name]
