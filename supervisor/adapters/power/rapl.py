"""The processor's energy counters (RAPL), read from the kernel's powercap files.

Zones that are added: `package-N` and the `dram` below it, which is not part of its package. Left out: `core` and
`uncore` (parts of their package), `psys` (holds the packages), and `intel-rapl-mmio` where `intel-rapl` has packages.
Source: Documentation/power/powercap/powercap.rst and drivers/powercap/intel_rapl_common.c of the Linux kernel.

The counters wrap: in 262 kJ on most machines, which is 44 minutes at 100 W, in 65 kJ on some. The owner of a
meter reads it at least every `READ_AT_LEAST_EVERY_S`, see `supervisor.composition`.
"""

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path

from contracts.execution.power_evidence import DomainName, PowerSource
from supervisor.adapters.kernel.proc_stat import TICK_NS, read_busy_ns
from supervisor.domain.power.energy_counter import CounterReading, counted_uj
from supervisor.domain.power.meter import MeterReading, MissingMeter

__all__ = ["READ_AT_LEAST_EVERY_S", "RaplMeter", "open_rapl"]

READ_AT_LEAST_EVERY_S = 30.0
POWERCAP = Path("sys/class/powercap")
# The same registers by two ways; the first that has packages is used.
CONTROL_TYPES = ("intel-rapl", "intel-rapl-mmio")
# The kernel names the zones of a package of several dies `package-0-die-1`.
PACKAGE_NAME = re.compile(r"package-([0-9]{1,4})(-die-[0-9]{1,4})?")
# On AMD's processors of several dies each die's zone is the register of the whole package, and so shows the same number
# but for the time between two reads. Counters of their own are as close once in ten thousand starts.
MIRROR_UJ = 5_000_000

_Clock = Callable[[], int]


class _Unreadable(Exception):
    """A counter that cannot be read, and why."""


class _Counter:
    """One zone's counter since it was opened."""

    def __init__(self, zone: Path, clock: _Clock) -> None:
        self._zone = zone
        self._clock = clock
        self._range_uj = _read_range(zone)
        self._total_uj = 0
        self._lost: str | None = None
        self.first = self._last = self._now()

    def _now(self) -> CounterReading:
        return CounterReading(_read_number(self._zone / "energy_uj"), self._clock())

    def read(self) -> int:
        """Return the microjoules since it was opened.

        Raises:
            _Unreadable: it cannot be read now, or something went uncounted since it was opened.
        """
        if self._lost is not None:
            raise _Unreadable(self._lost)
        now = self._now()
        counted = counted_uj(self._last, now, self._range_uj)
        if isinstance(counted, str):
            self._lost = counted
            raise _Unreadable(counted)
        self._total_uj += counted
        self._last = now
        return self._total_uj


class RaplMeter:
    """The meter; its gaps close by themselves, but for those in which a wrap may have been missed.

    Reading opens one file for each zone and /proc/stat; the kernel asks each register on the processor it belongs to.
    """

    source: PowerSource = "rapl"
    # The registers move every millisecond, but the processors' busy time, by which their energy is shared, in ticks.
    update_ns = TICK_NS

    def __init__(
        self, counters: Mapping[DomainName, tuple[_Counter, ...]], *, root: Path, clock: _Clock = time.monotonic_ns
    ) -> None:
        """Take opened counters by domain; `open_rapl` finds them."""
        self.domains: tuple[DomainName, ...] = tuple(counters)
        self._counters = counters
        self._root = root
        self._clock = clock
        self._busy_first_ns = read_busy_ns(root)
        self._busy_ns = 0
        self._lock = threading.Lock()

    def read(self) -> MeterReading:
        """Read every counter once. A counter that cannot be read is a gap with its reason."""
        with self._lock:
            at_ns = self._clock()
            energy_uj: dict[DomainName, int | None] = {}
            faults = []
            for name, counters in self._counters.items():
                try:
                    energy_uj[name] = sum([counter.read() for counter in counters])
                except _Unreadable as error:
                    energy_uj[name] = None
                    faults.append(f"{name}: {error}")
            busy_ns = self._read_busy_ns()
            if busy_ns is None:
                faults.append("busy CPU time: /proc/stat cannot be read")
            return MeterReading(at_ns, energy_uj, busy_ns, tuple(faults))

    def _read_busy_ns(self) -> int | None:
        now_ns = read_busy_ns(self._root)
        if now_ns is None or self._busy_first_ns is None:
            return None
        # proc_stat(5) warns that values can go back.
        self._busy_ns = max(self._busy_ns, now_ns - self._busy_first_ns)
        return self._busy_ns

    def follow(self, container_id: str) -> None:
        """Do nothing: processors are shared with others by their CPU time."""

    def close(self) -> None:
        """Do nothing: files are opened for each read, since a zone may go and come again."""


def open_rapl(root: Path = Path("/"), *, clock: _Clock = time.monotonic_ns) -> RaplMeter | MissingMeter:
    """Open every zone that adds up to the processors and their memory, or say why that cannot be done.

    Args:
        root: where the host's /sys and /proc lie.
        clock: what readings are dated by, in nanoseconds.
    """
    zones = next(filter(None, (_find_zones(root / POWERCAP, control) for control in CONTROL_TYPES)), None)
    if zones is None:
        return MissingMeter("no zone", is_there=False)
    counters: dict[DomainName, tuple[_Counter, ...]] = {}
    for name, paths in zones.items():
        try:
            counters[name] = _without_mirrors(tuple(_Counter(path, clock) for path in paths))
        except _Unreadable as error:
            # Memory is left out, and the record names what is metered; a package is not, for half a machine is none.
            if name.startswith("package-"):
                return MissingMeter(str(error), is_there=True)
    return RaplMeter(counters, root=root, clock=clock)


def _find_zones(powercap: Path, control: str) -> dict[DomainName, list[Path]] | None:
    packages: dict[DomainName, list[Path]] = defaultdict(list)
    memories: dict[DomainName, list[Path]] = defaultdict(list)
    seen = set()
    for zone, name in _named_zones(powercap, rf"{control}:[0-9]+"):
        match = PACKAGE_NAME.fullmatch(name)
        if match is None or name in seen:
            continue
        seen.add(name)
        number = int(match[1])
        packages[f"package-{number}"].append(zone)
        inside = list(_named_zones(powercap, rf"{re.escape(zone.name)}:[0-9]+"))
        memories[f"dram-{number}"] += [memory for memory, kind in inside if kind == "dram"][:1]
    found = {name: paths for name, paths in (*packages.items(), *memories.items()) if paths}
    return found or None


def _named_zones(powercap: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    # The class's directory holds every zone of every level, each as a link.
    try:
        names = sorted(entry.name for entry in powercap.iterdir() if re.fullmatch(pattern, entry.name))
    except OSError:
        return
    for name in names:
        try:
            yield powercap / name, (powercap / name / "name").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue


def _without_mirrors(counters: tuple[_Counter, ...]) -> tuple[_Counter, ...]:
    pairs = combinations((counter.first.energy_uj for counter in counters), 2)
    return counters[:1] if any(abs(one - other) <= MIRROR_UJ for one, other in pairs) else counters


def _read_number(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except PermissionError as error:
        message = "permission denied: needs root"
        raise _Unreadable(message) from error
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read ({getattr(error, 'strerror', None) or 'no number'})"
        raise _Unreadable(message) from error
    # int() would also take signs, spaces and underscores.
    if not re.fullmatch(r"[0-9]{1,19}", text):
        message = "says what is no number"
        raise _Unreadable(message)
    return int(text)


def _read_range(zone: Path) -> int | None:
    try:
        range_uj = _read_number(zone / "max_energy_range_uj")
    except _Unreadable:
        return None
    return None if range_uj == 0 else range_uj
