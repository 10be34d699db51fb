"""What the supervisor itself uses, as the kernel counts it: processor time of all its threads, and memory."""

from pathlib import Path

import psutil

__all__ = ["cpu_ns", "resident_bytes"]


def cpu_ns(pid: int) -> int:
    """Return the processor time of a process's threads, in nanoseconds (`schedstat` counts finer than ticks)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except (FileNotFoundError, ProcessLookupError):
            # A thread that ended between the listing and the look; its part is lost, so windows should be short.
            continue
    return total


def resident_bytes(pid: int) -> int:
    """Return what a process has in memory."""
    return int(psutil.Process(pid).memory_info().rss)
