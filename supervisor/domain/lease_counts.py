"""What the scheduler did since it began, and how it stands, as numbers to be watched."""

from collections import Counter
from dataclasses import dataclass

from supervisor.domain.exposition import Family, Histogram, label_samples

__all__ = ["LeaseCounts", "Standing"]

# From a lease without waiting to the longest Retry-After.
WAIT_BOUNDS_S = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is leased and what waits at one moment."""

    cores: int
    cores_leased: int
    memory_bytes: int
    memory_leased_bytes: int
    running: tuple[str, ...]
    """Scheduler policies of the leases, one each."""
    waiting: tuple[str, ...]
    """Scheduler policies of those that wait."""


class LeaseCounts:
    """Counts by scheduler policy and by reason."""

    def __init__(self) -> None:
        self._refused: Counter[str] = Counter()
        self._waited: dict[str, Histogram] = {}

    def add_refused(self, reason: str) -> None:
        """Count a request that was not taken."""
        self._refused[reason] += 1

    def add_granted(self, policy: str, waited_s: float) -> None:
        """Count a lease, and how long it was waited for."""
        self._waited.setdefault(policy, Histogram(WAIT_BOUNDS_S)).add(waited_s)

    def families(self, standing: Standing) -> tuple[Family, ...]:
        """Return all of it."""
        cores = {"leased": standing.cores_leased, "idle": standing.cores - standing.cores_leased}
        memory = {
            "leased": standing.memory_leased_bytes,
            "idle": standing.memory_bytes - standing.memory_leased_bytes,
        }
        waited = [sample for policy, each in sorted(self._waited.items()) for sample in each.samples(policy=policy)]
        return (
            Family("weos_cores", "gauge", "Physical cores that can be leased.", label_samples("state", cores)),
            Family("weos_memory_bytes", "gauge", "Memory that can be leased.", label_samples("state", memory)),
            Family(
                "weos_running",
                "gauge",
                "Executions that have their cores.",
                label_samples("policy", Counter(standing.running)),
            ),
            Family(
                "weos_waiting",
                "gauge",
                "Executions that wait for theirs.",
                label_samples("policy", Counter(standing.waiting)),
            ),
            Family(
                "weos_refused_total",
                "counter",
                "Requests that were turned away by the scheduler.",
                label_samples("reason", self._refused),
            ),
            Family("weos_wait_seconds", "histogram", "From acceptance to the lease.", waited),
        )
