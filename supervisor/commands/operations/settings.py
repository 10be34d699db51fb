"""The settings that the command line and the supervisor read from their environment, with what holds without them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["SECRET", "Setting", "read_settings"]

# Only whether they are set is ever shown.
SECRET = frozenset({"WEOS_ROOT_PASSPHRASE"})
HIDDEN = "(not shown)"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value; None where nothing is set and nothing stands for it."""

    name: str
    value: str | None
    origin: Literal["environment", "default", "found", "not set"]


def read_settings(
    environment: Mapping[str, str], *, home: Path, data_home: Path, container_engine: str | None
) -> tuple[Setting, ...]:
    """Return every setting, by name.

    Args:
        environment: of this process.
        home: the installation.
        data_home: the user's data directory.
        container_engine: the address of the one that answers now; None means that none does.
    """
    defaults = {
        "HF_ENDPOINT": "https://huggingface.co",
        "WEOS_HOME": str(home),
        "WEOS_HOST_ROOT": "/",
        "WEOS_KEY_PASSPHRASE_FILE": str(home / "keys" / "passphrase"),
        "WEOS_NO_INSTALL": "0",
        "WEOS_ROOT_DIR": None,
        "WEOS_ROOT_PASSPHRASE": None,
        "WEOS_TOKEN_FILE": None,
        "WEOS_WITNESS_DIR": str(data_home / "weos-witness"),
        "XDG_DATA_HOME": str(data_home),
    }
    found = [_read(environment, name, default) for name, default in defaults.items()]
    engine = _read(environment, "DOCKER_HOST", None)
    if engine.origin == "not set" and container_engine is not None:
        engine = Setting("DOCKER_HOST", container_engine, "found")
    return tuple(sorted((*found, engine), key=lambda setting: setting.name))


def _read(environment: Mapping[str, str], name: str, default: str | None) -> Setting:
    value = environment.get(name)
    if not value:
        return Setting(name, default, "not set" if default is None else "default")
    return Setting(name, HIDDEN if name in SECRET else _without_user(value), "environment")


def _without_user(value: str) -> str:
    """Return an address without the user and password that it may name."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return HIDDEN
    return value.replace(f"{parts.netloc.rpartition('@')[0]}@", f"{HIDDEN}@") if "@" in parts.netloc else value
