"""The scheduler's current state and its counts since the start, as Prometheus metrics."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

__all__ = ["LeaseCounts", "SchedulerSnapshot"]

# From a lease granted without waiting to the longest Retry-After.
WAIT_BOUNDS_S = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)
BUCKETS = (*(f"{bound_s:g}" for bound_s in WAIT_BOUNDS_S), "+Inf")


@dataclass(frozen=True, slots=True)
class SchedulerSnapshot:
    """The leases and the queue at one moment."""

    cores: int
    cores_leased: int
    memory_bytes: int
    memory_leased_bytes: int
    running: tuple[str, ...]
    """Scheduler policy of each lease."""
    waiting: tuple[str, ...]
    """Scheduler policy of each waiting execution."""


class LeaseCounts:
    """Counts by scheduler policy and by reason.

    The library's own counters are not used: they take a directory to write files in from the environment.
    """

    def __init__(self) -> None:
        self._refused: Counter[str] = Counter()
        self._waits: dict[str, list[int]] = {}
        self._waited_s: dict[str, float] = {}

    def add_refused(self, reason: str) -> None:
        """Count a refused request."""
        self._refused[reason] += 1

    def add_granted(self, policy: str, waited_s: float) -> None:
        """Count a lease and the seconds that its execution waited."""
        self._waits.setdefault(policy, [0] * len(BUCKETS))[bisect_left(WAIT_BOUNDS_S, waited_s)] += 1
        self._waited_s[policy] = self._waited_s.get(policy, 0.0) + waited_s

    def families(self, snapshot: SchedulerSnapshot) -> tuple[Metric, ...]:
        """Return the counts and the snapshot as metrics."""
        cores = {"leased": snapshot.cores_leased, "idle": snapshot.cores - snapshot.cores_leased}
        memory = {
            "leased": snapshot.memory_leased_bytes,
            "idle": snapshot.memory_bytes - snapshot.memory_leased_bytes,
        }
        refused = CounterMetricFamily(
            "weos_refused", "Requests that the scheduler refused, by reason.", labels=["reason"]
        )
        for reason, count in sorted(self._refused.items()):
            refused.add_metric([reason], count)
        waited = HistogramMetricFamily("weos_wait_seconds", "Seconds from acceptance to the lease.", labels=["policy"])
        for policy, counts in sorted(self._waits.items()):
            # Each bucket counts every wait up to its bound.
            buckets = list(zip(BUCKETS, accumulate(counts), strict=True))
            waited.add_metric([policy], buckets, self._waited_s[policy])
        return (
            _gauge("weos_cores", "Physical cores that can be leased, by state.", "state", cores),
            _gauge("weos_memory_bytes", "Bytes of memory that can be leased, by state.", "state", memory),
            _gauge("weos_running", "Executions that hold a lease.", "policy", Counter(snapshot.running)),
            _gauge("weos_waiting", "Executions that wait for a lease.", "policy", Counter(snapshot.waiting)),
            refused,
            waited,
        )


def _gauge(name: str, description: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=[label])
    for value, number in sorted(values.items()):
        family.add_metric([value], number)
    return family
