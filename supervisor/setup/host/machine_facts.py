"""Observes what decides before everything else whether set-up can work here. Standard library only."""

import os
import platform
import shutil
from pathlib import Path

from supervisor.domain.preflight import HOME_BYTES, REST_OF_HOME_BYTES, MachineFacts

__all__ = ["is_lxc", "nearest_directory", "read_machine_facts"]

# systemd(1) writes the kind of container here for everybody; the variable is read by root only.
CONTAINER_KIND = Path("/run/systemd/container")
FIRST_ENVIRONMENT = Path("/proc/1/environ")


def nearest_directory(path: Path) -> Path:
    """Return the directory, or the nearest one above it that exists."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def read_machine_facts(home: Path, checkout: Path) -> MachineFacts:
    """Observe this machine.

    Args:
        home: WEOS_HOME, which need not exist.
        checkout: the source tree.
    """
    place = nearest_directory(home)
    flags = os.statvfs(place).f_flag
    if any((home / "images").glob("cpu_*.json")):
        needed_bytes = 0
    else:
        needed_bytes = REST_OF_HOME_BYTES if (home / "venv" / "weos-packages").exists() else HOME_BYTES
    return MachineFacts(
        system=platform.system(),
        processor=platform.machine().lower(),
        home=str(home),
        checkout=str(checkout),
        is_read_only=bool(flags & os.ST_RDONLY),
        is_writable=os.access(place, os.W_OK | os.X_OK),
        runs_programs=not flags & os.ST_NOEXEC,
        free_bytes=shutil.disk_usage(place).free,
        needed_bytes=needed_bytes,
    )


def is_lxc(kind: Path = CONTAINER_KIND, environment: Path = FIRST_ENVIRONMENT) -> bool:
    """Return whether this machine is an LXC container."""
    try:
        return kind.read_text(encoding="utf-8", errors="replace").strip() == "lxc"
    except OSError:
        pass
    try:
        return b"container=lxc" in environment.read_bytes().split(b"\0")
    except OSError:
        return False
