"""Estimated wait for a place in the queue: a simulation of the queue with recent service times."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Occupancy", "ServiceTimes", "estimate_place_s", "round_up_s"]

# Enough samples that one long execution does not move the median, few enough to follow a change of the requests.
KEPT = 32


@dataclass(frozen=True, slots=True)
class Occupancy:
    """One execution that holds cores or waits for them."""

    cores: int
    expected_s: float
    """Expected time from its lease to its end."""
    elapsed_s: float = 0.0
    """Time since its lease."""

    @property
    def remaining_s(self) -> float:
        """Expected remaining time.

        An execution that exceeds its expected time is expected to take as long again as it has taken. The longer it has
        lasted, the longer it may last: what it does is unlike what was seen.
        """
        left = self.expected_s - self.elapsed_s
        return left if left > 0 else self.elapsed_s


class ServiceTimes:
    """How long the last executions held their cores, by scheduler policy."""

    def __init__(self, unknown_s: float) -> None:
        """Start without samples.

        Args:
            unknown_s: expected service time until the first execution has ended.
        """
        self._unknown_s = unknown_s
        self._seen: dict[str, list[float]] = {}

    def add(self, policy: str, service_s: float) -> None:
        """Add the service time of an execution that came to its own end."""
        self._seen[policy] = [*self._seen.get(policy, ()), service_s][-KEPT:]

    def expect(self, policy: str) -> float:
        """Return the median service time of the policy, or of all policies if it has no sample yet."""
        every = [each for seen in self._seen.values() for each in seen]
        seen = self._seen.get(policy) or every
        return median(seen) if seen else self._unknown_s


def estimate_place_s(
    running: Sequence[Occupancy], waiting: Sequence[Occupancy], *, free_cores: int, grants: int
) -> float:
    """Return the seconds until the first ``grants`` waiting executions have their cores.

    Each execution is assumed to take as long as expected. Memory is not simulated, because it is given back with the
    cores.

    Args:
        running: executions that hold cores.
        waiting: waiting executions, the next first.
        free_cores: number of cores that are not leased.
        grants: number of waiting executions that must get their cores.
    """
    ends = [(each.remaining_s, each.cores) for each in running]
    heapq.heapify(ends)
    now_s = 0.0
    for each in waiting[:grants]:
        while free_cores < each.cores and ends:
            now_s, cores = heapq.heappop(ends)
            free_cores += cores
        free_cores -= each.cores
        heapq.heappush(ends, (now_s + each.expected_s, each.cores))
    return now_s


def round_up_s(seconds: float, *, most_s: int) -> int:
    """Return whole seconds for a Retry-After: at least 1, at most ``most_s``."""
    return min(max(1, -int(-seconds // 1)), most_s)
