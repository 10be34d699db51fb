"""What the machine is: processor, instructions, CPUs that may be used, memory."""

import hashlib
import hmac
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from contracts.execution.calibration import HostFingerprint
from contracts.wire.units import KIB_PER_GIB
from supervisor.domain.errors import EngineError
from supervisor.domain.planning.installation import HostFacts
from supervisor.domain.scheduling.topology import Core, CpuPlace, form_cores

__all__ = ["host_root", "pinned", "read_fingerprint", "read_host_facts"]

# machine-id(5): the id itself is not to be shown to others, a keyed digest of it may be.
MACHINE_PURPOSE = b"weos-engine/calibration/1"
# Documentation/admin-guide/cputopology.rst: the second is its older name, from before Linux 5.4.
SIBLINGS_FILES = ("core_cpus_list", "thread_siblings_list")


def host_root() -> Path:
    """Return where the host's /sys, /proc and /etc lie: `WEOS_HOST_ROOT`, for a supervisor in a container.

    Raises:
        EngineError: ``host_root_unsound``, they are not there.
    """
    root = Path(os.environ.get("WEOS_HOST_ROOT") or "/").absolute()
    missing = [name for name in ("sys", "proc/cpuinfo", "proc/stat") if not (root / name).exists()]
    if missing:
        detail = f"WEOS_HOST_ROOT is {root}, where there is no {missing[0]}; mount the host's /sys and /proc below it"
        raise EngineError("host_root_unsound", detail)
    return root


def _cpuinfo_value(text: str, key: str) -> str:
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _read_cpus(path: Path) -> frozenset[int]:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    cpus: set[int] = set()
    for first, last in re.findall(r"([0-9]+)(?:-([0-9]+))?", text):
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def _read_place(directory: Path) -> CpuPlace:
    lists = (_read_cpus(directory / "topology" / name) for name in SIBLINGS_FILES)
    nodes = sorted(int(path.name.removeprefix("node")) for path in directory.glob("node[0-9]*"))
    return CpuPlace(next((cpus for cpus in lists if cpus), frozenset()), nodes[0] if nodes else 0)


def _read_cores(root: Path, usable: frozenset[int]) -> tuple[Core, ...]:
    base = root / "sys" / "devices" / "system" / "cpu"
    # A process may be allowed to use a CPU that is switched off at the moment.
    online = _read_cpus(base / "online") or usable
    return form_cores({cpu: _read_place(base / f"cpu{cpu}") for cpu in online}, usable & online)


def read_host_facts(root: Path = Path("/"), usable: Iterable[int] | None = None) -> HostFacts:
    """Read the facts.

    Args:
        root: where the host's /proc and /sys lie.
        usable: logical CPUs that may be used; None: those that this process may, in a container those of its cpuset.
    """
    text = (root / "proc" / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    return HostFacts(
        processor=_cpuinfo_value(text, "model name"),
        cores=_read_cores(root, frozenset(os.sched_getaffinity(0) if usable is None else usable)),
        cpu_flags=frozenset(_cpuinfo_value(text, "flags").split()),
        memory_bytes=int(psutil.virtual_memory().total),
    )


@contextmanager
def pinned(cpus: Collection[int]) -> Iterator[None]:
    """Keep every thread of this process on these logical CPUs, and those it starts meanwhile; none: leave it alone."""
    before = os.sched_getaffinity(0)
    if cpus:
        _pin_threads(cpus)
    try:
        yield
    finally:
        if cpus:
            _pin_threads(before)


def _pin_threads(cpus: Collection[int]) -> None:
    for name in os.listdir("/proc/self/task"):  # noqa: PTH208 - the names are all that is wanted
        # A thread may end between the two calls.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(name), cpus)


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
