"""Physical cores as values: which logical CPUs share one, which memory is near, which of them are kept from leases."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from supervisor.domain.policies.policy import HousekeepingPolicy

__all__ = ["Core", "CpuPlace", "form_cores", "split_housekeeping"]


@dataclass(frozen=True, slots=True)
class CpuPlace:
    """Where one logical CPU is."""

    siblings: frozenset[int]
    """Logical CPUs of the same physical core, itself among them."""
    node: int
    """NUMA node."""


@dataclass(frozen=True, slots=True, order=True)
class Core:
    """One physical core as far as it may be used."""

    cpus: tuple[int, ...]
    """Its logical CPUs that may be used, ascending."""
    node: int = 0
    """NUMA node."""
    is_whole: bool = True
    """Whether no logical CPU of it is someone else's: outside of what this process may use."""


def form_cores(places: Mapping[int, CpuPlace], usable: Collection[int]) -> tuple[Core, ...]:
    """Return the physical cores that the usable CPUs form, by lowest CPU.

    Args:
        places: where each online CPU is; a usable one that is missing is taken for a core of its own.
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
    """Return the cores that can be leased, and those that are kept for the supervisor's own work.

    The lowest are kept: Linux handles most interrupts there.

    Args:
        cores: the machine's, by lowest CPU.
        policy: how many are kept, and on a machine of how many.
    """
    kept = policy.cores if len(cores) >= policy.cores_min else 0
    return cores[kept:], cores[:kept]
