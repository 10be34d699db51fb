"""Whether a process has a namespace of its own, as the kernel shows it."""

from pathlib import Path

__all__ = ["has_own_namespace"]

# linux/nsfs.h: the numbers of the kernel's first namespaces, which are the same on every machine. The first process,
# which is in them, may be closed even to root.
FIRST_NAMESPACES = {"cgroup": "cgroup:[4026531835]", "ipc": "ipc:[4026531839]"}


def has_own_namespace(pid: int, kind: str, *, root: Path = Path("/")) -> bool | None:
    """Return whether a process's namespace is neither the supervisor's nor the kernel's first; None: it cannot be seen.

    Args:
        pid: the process, as the host counts.
        kind: `cgroup` or `ipc`, see namespaces(7).
        root: where the host's /proc lies.
    """
    try:
        theirs, own = (str((root / "proc" / str(each) / "ns" / kind).readlink()) for each in (pid, "self"))
    except OSError:
        return None
    return theirs not in {own, FIRST_NAMESPACES[kind]}
