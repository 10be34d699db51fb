"""Backend definitions: which cmake settings make which backend, and which processor it needs."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from supervisor.domain.errors import SetupError

__all__ = ["BackendDefinition", "default_source_root", "load_backends", "require_backend"]


@dataclass(frozen=True)
class BackendDefinition:
    """One backend as `runtime-image/backends.toml` defines it."""

    name: str
    required_cpu_flags: tuple[str, ...]
    cmake: tuple[tuple[str, str], ...]
    ggml_features: tuple[str, ...]

    def cmake_arguments(self) -> list[str]:
        """Return the settings as cmake takes them."""
        return [f"-D{name}={value}" for name, value in self.cmake]


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
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        common = document["common"]["cmake"]
        return {
            name: _definition(name, common | table["cmake"], table["required_cpu_flags"], table["ggml_features"])
            for name, table in document["backends"].items()
        }
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} is missing or not what set-up expects ({error!r}). Restore it: git checkout -- {path}"
        raise SetupError("definition_invalid", message) from error


def _definition(name: str, cmake: dict[str, str], flags: list[str], features: list[str]) -> BackendDefinition:
    if not all(isinstance(value, str) for value in [*cmake.values(), *flags, *features]):
        message = f"backend {name} has a value that is not a string"
        raise TypeError(message)
    return BackendDefinition(name, tuple(flags), tuple(sorted(cmake.items())), tuple(features))


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
