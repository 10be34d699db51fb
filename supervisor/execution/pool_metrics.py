"""The pool's current state and its counts since the start, as Prometheus metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

__all__ = ["PoolFacts"]


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """The state of the pool at one moment."""

    ready: int
    being_made: int
    hits: int
    misses: int
    dropped: Mapping[str, int]
    """Number of sandboxes ended unused, by reason."""
    failures: int
    fault: str | None
    """Why the last sandbox could not be prepared; None means no failure."""
    held_back: Mapping[str, int]
    """Number of recipes that wait before they are tried again, by the code of their newest failure."""

    def families(self) -> tuple[Metric, ...]:
        """Return the numbers as metrics, without `fault`."""
        sandboxes = GaugeMetricFamily("weos_pool_sandboxes", "Pooled sandboxes, by state.", labels=["state"])
        sandboxes.add_metric(["being_made"], self.being_made)
        sandboxes.add_metric(["ready"], self.ready)
        leases = CounterMetricFamily(
            "weos_pool_leases", "Executions that requested a pooled sandbox, by result.", labels=["result"]
        )
        leases.add_metric(["hit"], self.hits)
        leases.add_metric(["miss"], self.misses)
        dropped = CounterMetricFamily(
            "weos_pool_dropped", "Pooled sandboxes ended unused, by reason.", labels=["reason"]
        )
        for reason, count in sorted(self.dropped.items()):
            dropped.add_metric([reason], count)
        failures = CounterMetricFamily(
            "weos_pool_failures", "Pooled sandboxes that could not be prepared.", self.failures
        )
        held_back = GaugeMetricFamily(
            "weos_pool_held_back", "Recipes that wait after failures, by the newest failure's code.", labels=["code"]
        )
        for code, count in sorted(self.held_back.items()):
            held_back.add_metric([code], count)
        return sandboxes, leases, dropped, failures, held_back
