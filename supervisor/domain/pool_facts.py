"""How the pool stands, and what it did since it began, as numbers to be watched."""

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.domain.exposition import Family, Sample, label_samples

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

    def families(self) -> tuple[Family, ...]:
        """Return all of it but the words."""
        states = {"ready": self.ready, "being_made": self.being_made}
        leases = {"hit": self.hits, "miss": self.misses}
        dropped = label_samples("reason", self.dropped)
        return (
            Family("weos_pool_sandboxes", "gauge", "Sandboxes made ahead.", label_samples("state", states)),
            Family(
                "weos_pool_leases_total", "counter", "Executions that asked the pool.", label_samples("result", leases)
            ),
            Family("weos_pool_dropped_total", "counter", "Sandboxes ended unused.", dropped),
            Family("weos_pool_failures_total", "counter", "Sandboxes that could not be made.", [Sample(self.failures)]),
        )
