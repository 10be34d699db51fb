"""What the machine is: processor, instructions, CPUs that may be used, memory."""

import hashlib
import hmac
import os
import re
from pathlib import Path

import psutil

from contracts.calibration import HostFingerprint
from supervisor.domain.installation import HostFacts

__all__ = ["read_fingerprint", "read_host_facts"]

KIB_PER_GIB = 2**20
# machine-id(5): the id itself is not to be shown to others, a keyed digest of it may be.
MACHINE_PURPOSE = b"weos-engine/calibration/1"


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


def read_fingerprint(root: Path = Path("/")) -> HostFingerprint:
    """Read what makes a calibration that of this machine.

    Args:
        root: where the host's /proc and /etc lie.

    Raises:
        OSError: there is no /proc.
    """
    text = (root / "proc" / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    memory_kib = re.search(r"^MemTotal:\s+([0-9]+) kB", (root / "proc" / "meminfo").read_text(), re.MULTILINE)
    try:
        machine_id = (root / "etc" / "machine-id").read_bytes().strip()
    except OSError:
        machine_id = b""
    machine = hmac.new(machine_id, MACHINE_PURPOSE, hashlib.sha256).hexdigest() if machine_id else None
    return HostFingerprint(
        processor=_cpuinfo_value(text, "model name")[:256],
        logical_cpus=max(1, len(re.findall(r"^processor\s*:", text, re.MULTILINE))),
        # Processors of other kinds than x86 name none, and mostly have one.
        sockets=max(1, len(set(re.findall(r"^physical id\s*:\s*([0-9]+)", text, re.MULTILINE)))),
        memory_gib=round(int(memory_kib[1]) / KIB_PER_GIB) if memory_kib else 0,
        machine=None if machine is None else f"sha256:{machine}",
    )
