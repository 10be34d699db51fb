"""CPU time of a container, from the kernel's own counter of its control group (versions 1 and 2)."""

from pathlib import Path

__all__ = ["find_cpu_counter", "read_cpu_time_ns"]

NS_PER_US = 1000


def find_cpu_counter(pid: int, *, root: Path = Path("/")) -> Path | None:
    """Return the file that counts the CPU time of a process's control group, or None where there is none to read.

    Version 1: ``cpuacct.usage`` in nanoseconds. Version 2: ``cpu.stat``, line ``usage_usec``.
    """
    try:
        lines = (root / "proc" / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    mount = root / "sys" / "fs" / "cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if "cpuacct" in controllers.split(","):
            candidates = [mount / directory / inside / "cpuacct.usage" for directory in (controllers, "cpuacct")]
        elif number == "0" and not controllers:
            candidates = [mount / inside / "cpu.stat"]
        else:
            continue
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    return None


def read_cpu_time_ns(counter: Path) -> int | None:
    """Read a counter; None where it has gone or says something else."""
    try:
        text = counter.read_text()
        if counter.name == "cpuacct.usage":
            return int(text)
        usage_us = next(line.split()[1] for line in text.splitlines() if line.startswith("usage_usec "))
        return int(usage_us) * NS_PER_US
    except (OSError, ValueError, StopIteration):
        return None
