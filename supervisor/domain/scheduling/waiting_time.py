"""How long until a place in the queue is free: the queue played forward with the service times that were seen last."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Occupancy", "ServiceTimes", "estimate_place_s", "round_up_s"]

# Enough for a median that one long execution does not move, few enough to follow a change of what is asked for.
KEPT = 32


@dataclass(frozen=True, slots=True)
class Occupancy:
    """One execution that has its cores, or waits for them."""

    cores: int
    expected_s: float
    """From its lease to its end."""
    elapsed_s: float = 0.0
    """Since its lease."""

    @property
    def remaining_s(self) -> float:
        """What it still takes; of one that takes longer than expected, as long again as is usual."""
        left = self.expected_s - self.elapsed_s
        return left if left > 0 else self.expected_s


class ServiceTimes:
    """How long executions had their cores, by scheduler policy; the last ones."""

    def __init__(self, unknown_s: float) -> None:
        """Begin with none; until one has been seen each is taken to need so long."""
        self._unknown_s = unknown_s
        self._seen: dict[str, list[float]] = {}

    def add(self, policy: str, service_s: float) -> None:
        """Note one that has ended."""
        self._seen[policy] = [*self._seen.get(policy, ()), service_s][-KEPT:]

    def expect(self, policy: str) -> float:
        """Return the median of the policy's, or of all where it has none yet."""
        every = [each for seen in self._seen.values() for each in seen]
        seen = self._seen.get(policy) or every
        return median(seen) if seen else self._unknown_s


def estimate_place_s(
    running: Sequence[Occupancy], waiting: Sequence[Occupancy], *, free_cores: int, grants: int
) -> float:
    """Return the seconds until so many of the waiting have got their cores, if each takes as long as expected.

    Memory is not played: it is given back with the cores.

    Args:
        running: what holds cores.
        waiting: what waits, next first.
        free_cores: cores that nobody holds.
        grants: how many of the waiting must have left the queue.
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
    """Return whole seconds for a Retry-After: at least one, at most what the policy says."""
    return min(max(1, -int(-seconds // 1)), most_s)
