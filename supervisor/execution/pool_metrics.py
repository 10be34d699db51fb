"""How the pool stands, and what it did since it began, as numbers to be watched."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

__all__ = ["PoolFacts"]


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """The pool at one moment."""

    ready: int
    being_made: int
    hits: int
    misses: int
    dropped: Mapping[str, int]
    """Sandboxes ended unused, by reason."""
    failures: int
    fault: str | None
    """Why the last sandbox could not be made; None: it could."""

    def families(self) -> tuple[Metric, ...]:
        """Return all of it but the words."""
        sandboxes = GaugeMetricFamily("weos_pool_sandboxes", "Sandboxes made ahead.", labels=["state"])
        sandboxes.add_metric(["being_made"], self.being_made)
        sandboxes.add_metric(["ready"], self.ready)
        leases = CounterMetricFamily("weos_pool_leases", "Executions that asked the pool.", labels=["result"])
        leases.add_metric(["hit"], self.hits)
        leases.add_metric(["miss"], self.misses)
        dropped = CounterMetricFamily("weos_pool_dropped", "Sandboxes ended unused.", labels=["reason"])
        for reason, count in sorted(self.dropped.items()):
            dropped.add_metric([reason], count)
        failures = CounterMetricFamily("weos_pool_failures", "Sandboxes that could not be made.", self.failures)
        return sandboxes, leases, dropped, failures
