"""What the machine is: processor, instructions, CPUs that may be used, memory."""

import os
import re
from pathlib import Path

import psutil

from supervisor.domain.installation import HostFacts

__all__ = ["read_host_facts"]


def _cpuinfo_value(text: str, key: str) -> str:
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def read_host_facts(cpuinfo: Path = Path("/proc/cpuinfo")) -> HostFacts:
    """Read the facts; CPUs are those that this process may use."""
    text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    return HostFacts(
        processor=_cpuinfo_value(text, "model name"),
        logical_cpus=tuple(sorted(os.sched_getaffinity(0))),
        cpu_flags=frozenset(_cpuinfo_value(text, "flags").split()),
        memory_bytes=int(psutil.virtual_memory().total),
    )
