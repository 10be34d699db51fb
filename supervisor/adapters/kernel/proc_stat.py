"""The CPU time of everything on the host, from /proc/stat."""

import os
from pathlib import Path

from contracts.wire.units import NS_PER_S

__all__ = ["TICK_NS", "read_busy_ns"]

# The kernel counts in ticks of USER_HZ, mostly of 10 ms.
TICK_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")
# proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice. A guest's time is in user or
# nice already; what was stolen ran elsewhere.
BUSY_FIELDS = (0, 1, 2, 5, 6)


def read_busy_ns(root: Path = Path("/")) -> int | None:
    """Return the CPU time since the start of the host, of all its CPUs together; None where it cannot be read.

    Args:
        root: where the host's /proc lies.
    """
    try:
        with (root / "proc" / "stat").open(encoding="ascii") as file:
            name, *fields = file.readline().split()
        ticks = [int(field) for field in fields]
        return sum(ticks[index] for index in BUSY_FIELDS) * TICK_NS if name == "cpu" else None
    except (OSError, ValueError, IndexError):
        return None
