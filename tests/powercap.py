"""A host's /sys, /proc and /etc with energy counters that a test moves."""

from pathlib import Path

__all__ = ["RANGE_UJ", "Clock", "PowercapHost"]

RANGE_UJ = 262_143_328_850
CPUINFO = "processor\t: {number}\nmodel name\t: {processor}\nphysical id\t: {socket}\nflags\t\t: fpu\n\n"


class PowercapHost:
    """Files below a directory, as the kernel shows them."""

    def __init__(self, root: Path, *, sockets: int = 1, processor: str = "Test processor", cpus: int = 4) -> None:
        self.root = root
        self.powercap = root / "sys" / "class" / "powercap"
        self.powercap.mkdir(parents=True)
        (root / "proc").mkdir()
        (root / "etc").mkdir()
        text = "".join(
            CPUINFO.format(number=number, processor=processor, socket=number % sockets) for number in range(cpus)
        )
        (root / "proc" / "cpuinfo").write_text(text)
        (root / "proc" / "meminfo").write_text("MemTotal:       16307084 kB\nMemFree: 1 kB\n")
        (root / "etc" / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        self.set_busy_ticks(1000)

    def add_zone(self, zone: str, name: str, energy_uj: int = 0, range_uj: int | None = RANGE_UJ) -> Path:
        """Add a zone such as `intel-rapl:0`; without a range it has no such file."""
        directory = self.powercap / zone
        directory.mkdir()
        (directory / "name").write_text(f"{name}\n")
        (directory / "energy_uj").write_text(f"{energy_uj}\n")
        if range_uj is not None:
            (directory / "max_energy_range_uj").write_text(f"{range_uj}\n")
        return directory

    def set_energy(self, zone: str, energy_uj: int | str) -> None:
        """Have a counter say something."""
        (self.powercap / zone / "energy_uj").write_text(f"{energy_uj}\n")

    def set_busy_ticks(self, user: int) -> None:
        """Have /proc/stat count so many ticks of user time, and fixed ones of all other kinds."""
        line = f"cpu  {user} 20 300 999999 88888 4 5 7777 66 6\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 1\n"
        (self.root / "proc" / "stat").write_text(line)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)
