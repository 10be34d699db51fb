"""The control group of a container (versions 1 and 2): CPU time, limits and quota, in the kernel's own files."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contracts.wire.units import NANO_CPUS_PER_CPU, NS_PER_US

__all__ = [
    "CpuQuota",
    "GroupLimits",
    "find_cpu_counter",
    "find_cpu_quota",
    "find_group_file",
    "find_groups",
    "is_in_container",
    "judge_quotas",
    "prepare_parent",
    "read_cpu_time_ns",
    "read_limits",
    "remove_left_groups",
]

UNLIMITED = 2**63 - 1
# kernel/sched/core.c, min_cfs_quota_period: one millisecond.
MIN_QUOTA_US = 1000
LEFT_GROUP_ATTEMPTS = 5
LEFT_GROUP_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Limits in force; None: not to be read here. Without a limit a number is `UNLIMITED`."""

    path: str | None
    memory_bytes: int | None
    memory_and_swap_bytes: int | None
    pids_max: int | None
    cpu_quota_nano: int | None


@dataclass(frozen=True, slots=True)
class CpuQuota:
    """The file by which a group is given CPU time, and the one that says for how long it was held back."""

    setting: Path
    """``cpu.cfs_quota_us`` (version 1) or ``cpu.max`` (version 2)."""

    def set(self, nano_cpus: int, period_us: int) -> None:
        """Give the group so much CPU time per second, in nanoseconds, a part of it in every period.

        Raises:
            OSError: it may not be written, or has gone.
        """
        quota_us = max(MIN_QUOTA_US, nano_cpus * period_us // NANO_CPUS_PER_CPU)
        if self.setting.name == "cpu.max":
            self.setting.write_text(f"{quota_us} {period_us}")
            return
        period = self.setting.with_name("cpu.cfs_period_us")
        # The quota of a longer period would be too much in a shorter one, so it comes first.
        self.setting.write_text(str(quota_us))
        if int(period.read_text()) != period_us:
            period.write_text(str(period_us))

    def read_throttling(self) -> tuple[int, int] | None:
        """Return for how long it was held back, in nanoseconds, and in how many periods; None: not to be read."""
        try:
            lines = self.setting.with_name("cpu.stat").read_text().splitlines()
            values = {name: int(value) for name, value in (line.split() for line in lines)}
        except (OSError, ValueError):
            return None
        # Version 1 counts nanoseconds, version 2 microseconds.
        time_ns = values.get("throttled_time", values.get("throttled_usec", 0) * NS_PER_US)
        return (time_ns, values["nr_throttled"]) if "nr_throttled" in values else None


def prepare_parent(parent: str, *, root: Path = Path("/")) -> None:
    """Give a parent group the CPUs and memory nodes of the group above it, where it has none (version 1 only).

    A new group of version 1 has none, and then no group below it can have any: runc fills them in, runsc does not and
    fails. Where this may not be done here (no root, a read-only file system) somebody else must have done it before.

    Args:
        parent: path of the group, as the container engine gets it.
        root: where the host's /sys lies.
    """
    above = root / "sys" / "fs" / "cgroup" / "cpuset"
    if not (above / "cpuset.cpus").is_file():
        return
    for name in filter(None, parent.split("/")):
        group = above / name
        with suppress(OSError):
            group.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not (group / file).read_text().strip():
                    (group / file).write_text((above / file).read_text())
        above = group


def remove_left_groups(container_id: str, *, root: Path = Path("/")) -> None:
    """Remove the empty control groups of a container that is gone.

    runc tries to for a third of a second and then leaves them: on a busy machine the kernel still has ending processes
    in them (measured: 38 of some thousand). Where this may not be done here they stay; they hold nothing.

    Args:
        container_id: the container; its groups have its name.
        root: where the host's /sys lies.
    """
    groups = find_groups(container_id, root=root)
    for attempt in range(LEFT_GROUP_ATTEMPTS):
        for group in groups:
            with suppress(OSError):
                group.rmdir()
        if not any(group.exists() for group in groups):
            return
        time.sleep(LEFT_GROUP_PAUSE_S * (attempt + 1))


def find_groups(container_id: str, *, root: Path = Path("/")) -> tuple[Path, ...]:
    """Return the control groups that have a container's name.

    Docker's have the plain id, Podman's begin with `libpod-`, and systemd's end with `.scope`.

    Args:
        container_id: the container.
        root: where the host's /sys lies.
    """
    mount = root / "sys" / "fs" / "cgroup"
    # Version 1: one below each controller's parent; version 2: one below the parent.
    return (*mount.glob(f"*/*/*{container_id}*"), *mount.glob(f"*/*{container_id}*"))


def find_cpu_counter(pid: int, *, root: Path = Path("/")) -> Path | None:
    """Return the file that counts the CPU time of a process's control group, or None where there is none to read.

    Version 1: ``cpuacct.usage`` in nanoseconds. Version 2: ``cpu.stat``, line ``usage_usec``.
    """
    return find_group_file(pid, "cpuacct", "cpuacct.usage", root) or find_group_file(pid, "", "cpu.stat", root)


def judge_quotas(*, root: Path = Path("/")) -> str | None:
    """Return why the CPU time of groups cannot be set from here, None where it can."""
    mount = root / "sys" / "fs" / "cgroup"
    place = next((each for each in (mount / "cpu", mount / "cpu,cpuacct", mount) if each.is_dir()), None)
    if place is None:
        return "no control groups are to be seen"
    # The effective ids, since they have the capabilities of a supervisor that is not root.
    return None if os.access(place, os.W_OK, effective_ids=True) else f"{place} may not be written"


def find_cpu_quota(pid: int, *, root: Path = Path("/")) -> CpuQuota | None:
    """Return the quota of a process's control group, or None where there is none to be seen."""
    setting = find_group_file(pid, "cpu", "cpu.cfs_quota_us", root) or find_group_file(pid, "", "cpu.max", root)
    return None if setting is None else CpuQuota(setting)


def is_in_container(pid: int, container_id: str | None, *, root: Path = Path("/")) -> bool:
    """Return whether a process is in a container's control groups; one that has gone is in none.

    Args:
        pid: the process, as the host numbers it.
        container_id: the container, whose groups have its name; None: none.
        root: where the host's /proc lies.
    """
    return container_id is not None and any(container_id in path for _, path in _groups(pid, root))


def read_limits(pid: int, *, root: Path = Path("/")) -> GroupLimits:
    """Return the limits of a process's control group."""
    memory = _number(find_group_file(pid, "memory", "memory.limit_in_bytes", root))
    if memory is not None:
        both = _number(find_group_file(pid, "memory", "memory.memsw.limit_in_bytes", root))
        pids = _number(find_group_file(pid, "pids", "pids.max", root))
        quota = _number(find_group_file(pid, "cpu", "cpu.cfs_quota_us", root))
        period = _number(find_group_file(pid, "cpu", "cpu.cfs_period_us", root))
    else:
        memory = _number(find_group_file(pid, "", "memory.max", root))
        swap = _number(find_group_file(pid, "", "memory.swap.max", root))
        both = None if memory is None or swap is None else memory + swap
        pids = _number(find_group_file(pid, "", "pids.max", root))
        quota, period = _quota_and_period(find_group_file(pid, "", "cpu.max", root))
    path = next((path for _, path in _groups(pid, root)), None)
    return GroupLimits(path, memory, both, pids, _in_nano_cpus(quota, period))


def _groups(pid: int, root: Path) -> Iterator[tuple[str, str]]:
    # proc_pid_cgroup(5): number, controllers (none for version 2), path.
    try:
        lines = (root / "proc" / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        yield controllers, _from_the_top(path)


def _from_the_top(path: str) -> str:
    # cgroup_namespaces(7): a process in a namespace of its own, as a container has, sees paths from its own group:
    # "/../../weos.slice/docker-abc.scope". Sandbox and supervisor are below different groups of the top, so the ".."
    # lead there. Where they do not, no file is found, and the receipt says so.
    while path == "/.." or path.startswith("/../"):
        path = path.removeprefix("/..") or "/"
    return path


def find_group_file(pid: int, controller: str, name: str, root: Path = Path("/")) -> Path | None:
    """Return a file of a process's control group, None where there is none; version 2 has no ``controller``."""
    mount = root / "sys" / "fs" / "cgroup"
    for controllers, path in _groups(pid, root):
        if controller not in controllers.split(","):
            continue
        inside = path.lstrip("/")
        for candidate in (mount / controllers / inside / name, mount / controller / inside / name):
            if candidate.is_file():
                return candidate
    return None


def _number(file: Path | None) -> int | None:
    if file is None:
        return None
    try:
        text = file.read_text().strip()
        return UNLIMITED if text == "max" else int(text)
    except (OSError, ValueError):
        return None


def _quota_and_period(file: Path | None) -> tuple[int | None, int | None]:
    if file is None:
        return None, None
    try:
        quota, period = file.read_text().split()
        return UNLIMITED if quota == "max" else int(quota), int(period)
    except (OSError, ValueError):
        return None, None


def _in_nano_cpus(quota: int | None, period: int | None) -> int | None:
    if quota is None or not period:
        return None
    # Version 1 says -1 for "no limit".
    return UNLIMITED if quota < 0 or quota == UNLIMITED else quota * NANO_CPUS_PER_CPU // period


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
