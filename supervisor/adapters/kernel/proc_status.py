"""What the kernel says of every thread of a container, read from the host's /proc."""

from collections.abc import Iterator
from pathlib import Path

from supervisor.adapters.kernel.cgroup import find_group_file
from supervisor.domain.sandbox.locks import ThreadStatus

__all__ = ["read_group", "read_thread_statuses", "read_threads"]

_CAPABILITY_SETS = ("CapInh", "CapPrm", "CapAmb")


def read_thread_statuses(pid: int, *, root: Path = Path("/")) -> tuple[ThreadStatus, ...]:
    """Return every thread of every process in the control groups of a container's first process.

    Empty where that process has gone or cannot be seen. /proc/PID/cgroup and status are readable by all, so this needs
    the host's process ids and no privilege.

    Raises:
        ValueError: a status lacks a line (Seccomp_filters came with Linux 5.9) or says something else than numbers.
    """
    return tuple(status for number in read_group(pid, root=root) for status in read_threads(number, root=root))


def read_group(pid: int, *, root: Path = Path("/")) -> tuple[int, ...]:
    """Return every process in the control groups of a process; empty where that one has gone or cannot be seen."""
    processes = root / "proc"
    groups = _read(processes / str(pid) / "cgroup")
    if not groups:
        return ()
    listed = find_group_file(pid, "pids", "cgroup.procs", root) or find_group_file(pid, "", "cgroup.procs", root)
    numbers = b"" if listed is None else _read(listed)
    # The kernel's own list, where it is to be seen, is there at once; 0 stands for a process that cannot be seen.
    found = frozenset(map(int, numbers.split())) - {0}
    if pid in found:
        return tuple(sorted(found))
    return tuple(
        int(process.name)
        for process in processes.iterdir()
        if process.name.isdigit() and _read(process / "cgroup") == groups
    )


def read_threads(pid: int, *, root: Path = Path("/")) -> tuple[ThreadStatus, ...]:
    """Return every thread of a process; raises as `read_thread_statuses` says."""
    return tuple(_threads(root / "proc" / str(pid)))


def _threads(process: Path) -> Iterator[ThreadStatus]:
    try:
        tasks = list((process / "task").iterdir())
    except OSError:
        return
    for task in tasks:
        text = _read(task / "status")
        if text:
            yield _parse(text.decode("utf-8", "replace"))


def _read(path: Path) -> bytes:
    # A process or thread may end at any moment; then there is nothing of it to judge.
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parse(text: str) -> ThreadStatus:
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        return ThreadStatus(
            user_ids=tuple(map(int, values["Uid"].split())),
            group_ids=tuple(map(int, values["Gid"].split())),
            no_new_privileges=values["NoNewPrivs"].strip() == "1",
            seccomp_mode=int(values["Seccomp"]),
            seccomp_filters=int(values["Seccomp_filters"]),
            cap_effective=values["CapEff"].strip(),
            cap_bounding=values["CapBnd"].strip(),
            other_capabilities=tuple(values[name].strip() for name in _CAPABILITY_SETS),
            cpus_allowed=tuple(_parse_cpus(values["Cpus_allowed_list"])),
        )
    except KeyError as error:
        message = f"a thread's status has no line {error}"
        raise ValueError(message) from error


def _parse_cpus(text: str) -> Iterator[int]:
    # As cpuset(7) lists them: 0-3,8
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
