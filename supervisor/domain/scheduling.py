"""Which CPUs an execution gets: leases of whole logical CPUs, first come first served."""

from supervisor.domain.policy import SchedulerPolicy

__all__ = ["choose_cpus", "wanted_cores"]


def wanted_cores(policy: SchedulerPolicy, logical_cpus: int) -> int:
    """Return how many CPUs the policy gives an execution on a machine of this size."""
    return min(policy.cores_max, logical_cpus)


def choose_cpus(free: frozenset[int], count: int) -> tuple[int, ...] | None:
    """Return the lowest free CPUs, or None where there are too few."""
    return tuple(sorted(free)[:count]) if len(free) >= count else None
