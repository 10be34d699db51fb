"""What can be seen of a container from the host: its first process in /proc, and its control group."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from supervisor.adapters.kernel.cgroup import read_limits
from supervisor.adapters.kernel.mapped_files import MappedFileReader
from supervisor.adapters.kernel.proc_status import read_thread_statuses
from supervisor.domain.sandbox.receipt import FileFacts, MountPoint, SandboxFacts

__all__ = [
    "facts_of",
    "read_facts",
    "read_file",
    "read_interfaces",
    "read_mounts",
    "read_oom_score_adj",
]

OCTAL_ESCAPES = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}
NETWORK_HEADER_LINES = 2


def read_facts(
    pid: int,
    *,
    image_id: str,
    model_path: str,
    watched: Iterable[str],
    engine: Mapping[str, Any],
    mapped: MappedFileReader,
    root: Path = Path("/"),
) -> SandboxFacts:
    """Look at a container; what cannot be read is None.

    Args:
        pid: its first process, as the host counts.
        image_id: what it was made from.
        model_path: where it has the model.
        watched: paths that should be hidden or read-only in it.
        engine: what the container engine says of its `HostConfig`.
        mapped: reads and remembers the digests of mapped files.
        root: where the host's /proc and /sys lie.

    Raises:
        ValueError: the kernel's words cannot be understood.
    """
    process = root / "proc" / str(pid)
    limits = read_limits(pid, root=root)
    environment = _read(process / "environ")
    ulimits = _read(process / "limits")
    return SandboxFacts(
        threads=read_thread_statuses(pid, root=root),
        engine=engine,
        control_group=limits.path,
        mounts=read_mounts(process),
        present=dict(_present(watched, root)),
        interfaces=read_interfaces(process),
        environment=None if environment is None else tuple(filter(None, environment.split("\0"))),
        limits=None if ulimits is None else dict(map(_parse_limit, ulimits.splitlines()[1:])),
        oom_score_adj=read_oom_score_adj(process),
        memory_bytes=limits.memory_bytes,
        memory_and_swap_bytes=limits.memory_and_swap_bytes,
        pids_max=limits.pids_max,
        cpu_quota_nano=limits.cpu_quota_nano,
        mapped_files=mapped.read(process, image_id, without=model_path),
        model=read_file(process, model_path),
    )


def read_mounts(process: Path) -> tuple[MountPoint, ...] | None:
    """Return the file systems of a process (its directory in /proc); None: they cannot be seen."""
    text = _read(process / "mountinfo")
    return None if text is None else tuple(map(_parse_mount, text.splitlines()))


def read_interfaces(process: Path) -> tuple[str, ...] | None:
    """Return the network's interfaces of a process; None: they cannot be seen."""
    text = _read(process / "net" / "dev")
    return None if text is None else _parse_interfaces(text)


def read_oom_score_adj(process: Path) -> int | None:
    """Return how soon the kernel ends a process for want of memory; None: that cannot be seen."""
    text = _read(process / "oom_score_adj")
    return None if text is None else int(text)


def read_file(process: Path, path: str) -> FileFacts | None:
    """Return what a process sees at a path; None: nothing, or it cannot be seen."""
    try:
        return facts_of((process / "root" / path.lstrip("/")).lstat())
    except OSError:
        return None


def facts_of(status: os.stat_result) -> FileFacts:
    """Return the identity behind a stat result."""
    return FileFacts(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None


def _parse_mount(line: str) -> MountPoint:
    # proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, "-", type, source, options
    before, after = line.split(" - ", 1)
    fields = before.split(" ")
    path = fields[4]
    for escape, character in OCTAL_ESCAPES.items():
        path = path.replace(escape, character)
    return MountPoint(path, fields[3], after.split(" ", 1)[0], frozenset(fields[5].split(",")))


def _present(watched: Iterable[str], root: Path) -> Iterable[tuple[str, str]]:
    for path in watched:
        if (root / path.lstrip("/")).exists():
            # /proc/net leads to the reader's own process, which in the container is the first one.
            yield path, path.replace("/proc/net", "/proc/1/net")


def _parse_interfaces(text: str) -> tuple[str, ...]:
    return tuple(line.split(":", 1)[0].strip() for line in text.splitlines()[NETWORK_HEADER_LINES:])


def _parse_limit(line: str) -> tuple[str, tuple[int | None, int | None]]:
    # Columns of fixed width: a name of 25 characters, then soft limit, hard limit and unit.
    words = line[25:].split()
    return line[:25].strip(), (_bound(words[0]), _bound(words[1]))


def _bound(word: str) -> int | None:
    return None if word == "unlimited" else int(word)
