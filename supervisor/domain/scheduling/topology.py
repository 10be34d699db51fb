"""Physical cores as values: their logical CPUs, their NUMA node, and the cores that are kept from leases."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from supervisor.domain.policies.policy import HousekeepingPolicy

__all__ = ["Core", "CpuPlace", "form_cores", "split_housekeeping"]


@dataclass(frozen=True, slots=True)
class CpuPlace:
    """The place of one logical CPU in the machine."""

    siblings: frozenset[int]
    """Logical CPUs of the same physical core, including this CPU."""
    node: int
    """NUMA node."""


@dataclass(frozen=True, slots=True, order=True)
class Core:
    """The usable part of one physical core."""

    cpus: tuple[int, ...]
    """Its usable logical CPUs, ascending."""
    node: int = 0
    """NUMA node."""
    is_whole: bool = True
    """Whether this process may use every logical CPU of the core."""


def form_cores(places: Mapping[int, CpuPlace], usable: Collection[int]) -> tuple[Core, ...]:
    """Return the physical cores that the usable CPUs form, sorted by their lowest CPU.

    Args:
        places: place of each online CPU; a usable CPU without a place counts as a core of its own.
        usable: logical CPUs that may be used.
    """
    left = set(usable)
    cores = []
    for cpu in sorted(left):
        if cpu in left:
            place = places.get(cpu, CpuPlace(frozenset({cpu}), 0))
            ours = (place.siblings & left) | {cpu}
            cores.append(Core(tuple(sorted(ours)), place.node, place.siblings <= ours))
            left -= ours
    return tuple(cores)


def split_housekeeping(
    cores: tuple[Core, ...], policy: HousekeepingPolicy
) -> tuple[tuple[Core, ...], tuple[Core, ...]]:
    """Return the cores that can be leased, and the cores that are kept for the supervisor's own work.

    The lowest cores are kept, because Linux handles most interrupts there.

    Args:
        cores: cores of the machine, sorted by their lowest CPU.
        policy: how many cores are kept, and the minimum size of the machine for that.
    """
    kept = policy.cores if len(cores) >= policy.cores_min else 0
    return cores[kept:], cores[:kept]
