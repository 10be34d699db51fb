"""The supervisor's own use, as the kernel counts it: processor time of all its threads, and memory."""

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
            # The thread ended after the listing; its time is lost, so windows should be short.
            continue
    return total


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(psutil.Process(pid).memory_info().rss)
