"""Where a container and its threads run, with which weight, and whether it runs at all."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from supervisor.adapters.kernel.cgroup import find_group_file, find_groups

__all__ = ["Placement", "find_placement", "keep_apart", "thaw_left_group"]

# The kernel's default and its least, by the name of the file (versions 1 and 2 of control groups).
FULL_WEIGHT = {"cpu.shares": 1024, "cpu.weight": 100}
LEAST_WEIGHT = {"cpu.shares": 2, "cpu.weight": 1}
FREEZER_WORDS = {"freezer.state": ("THAWED", "FROZEN"), "cgroup.freeze": ("0", "1")}


@dataclass(frozen=True, slots=True)
class Placement:
    """The files of one group. Every method raises OSError where one may not be written, or has gone."""

    cpus: Path
    weight: Path
    freezer: Path

    def place(self, cpus: frozenset[int], *, in_background: bool) -> None:
        """Let the group run on these logical CPUs; in the background everything else comes first."""
        self.cpus.write_text(",".join(map(str, sorted(cpus))))
        weight = (LEAST_WEIGHT if in_background else FULL_WEIGHT)[self.weight.name]
        self.weight.write_text(str(weight))

    def freeze(self) -> None:
        """Stop every thread of the group where it is."""
        self.freezer.write_text(FREEZER_WORDS[self.freezer.name][True])

    def thaw(self) -> None:
        """Let them go on."""
        self.freezer.write_text(FREEZER_WORDS[self.freezer.name][False])


def find_placement(pid: int, *, root: Path = Path("/")) -> Placement | None:
    """Return the files of a process's control group, or None where they are not all there."""
    found = (
        find_group_file(pid, "cpuset", "cpuset.cpus", root) or find_group_file(pid, "", "cpuset.cpus", root),
        find_group_file(pid, "cpu", "cpu.shares", root) or find_group_file(pid, "", "cpu.weight", root),
        find_group_file(pid, "freezer", "freezer.state", root) or find_group_file(pid, "", "cgroup.freeze", root),
    )
    cpus, weight, freezer = found
    return None if cpus is None or weight is None or freezer is None else Placement(cpus, weight, freezer)


def keep_apart(pid: int, cores: tuple[tuple[int, ...], ...], *, root: Path = Path("/")) -> None:
    """Keep each thread of a process on the logical CPUs of one core, where there are as many threads as cores.

    Raises:
        OSError: it has ended, or may not be told from here where to run.
    """
    threads = sorted(int(task.name) for task in (root / "proc" / str(pid) / "task").iterdir())
    if len(threads) == len(cores):
        for thread, cpus in zip(threads, cores, strict=True):
            os.sched_setaffinity(thread, cpus)


def thaw_left_group(container_id: str, *, root: Path = Path("/")) -> None:
    """Thaw a container that a killed supervisor left frozen: version 1 ends a frozen process only when it is thawed."""
    for group in find_groups(container_id, root=root):
        for name, (thawed, _) in FREEZER_WORDS.items():
            if (group / name).exists():
                with suppress(OSError):
                    (group / name).write_text(thawed)
