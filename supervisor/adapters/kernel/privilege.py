"""Whether this process may look at the processes of other users, as observing a sandbox needs."""

import os
import re
from pathlib import Path

__all__ = ["may_observe"]

# include/uapi/linux/capability.h
CAP_SYS_PTRACE = 19


def may_observe(status: Path = Path("/proc/self/status"), user_id: int | None = None) -> bool:
    """Return whether the kernel shows this process what a sandbox maps and has mounted: ptrace(2), PTRACE_MODE_READ.

    Args:
        status: this process's status in /proc.
        user_id: its effective user; None: as it is.
    """
    if (os.geteuid() if user_id is None else user_id) == 0:
        return True
    try:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    except OSError:
        return False
    return found is not None and bool(int(found[1], 16) >> CAP_SYS_PTRACE & 1)
