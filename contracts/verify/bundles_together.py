"""Compare several VALID bundles with each other, for faults that no single bundle shows. Pure."""

from contracts.verify.bundle import BundleReport
from contracts.verify.checks import Check

__all__ = ["SeenBundles"]

NAME = "other bundles"


class SeenBundles:
    """Remembers the facts of each bundle that later bundles must not contradict: a few hundred bytes for each."""

    def __init__(self) -> None:
        self._roots: dict[tuple[str, int], bytes] = {}
        self._leaves: dict[tuple[str, int], bytes] = {}
        self._places: dict[str, tuple[str, tuple[int, int]]] = {}
        self._numbers: dict[tuple[str, int], str] = {}
        self._containers: dict[str, str] = {}

    def add(self, report: BundleReport) -> Check:
        """Compare a VALID bundle with the bundles before it, and remember it.

        The same execution may come twice, with proofs of different ages.

        Returns:
            ``FORK``: the ledger has two roots over the same entries. ``INCONSISTENT``: one index has two leaves.
            ``DUPLICATE_ID``: an execution has two places, or two executions share a number or a container.
        """
        if report.record is None or report.place is None:
            return Check(NAME, "OK", "not compared")
        place, record = report.place, report.record
        origin, size, execution_id = place.checkpoint.origin, place.checkpoint.size, record.execution_id
        if self._roots.setdefault((origin, size), place.checkpoint.root) != place.checkpoint.root:
            return Check(NAME, "FORK", f"another bundle has another root over {size} entries of {origin}; keep both")
        for index, leaf_hash in zip(place.positions, place.leaf_hashes, strict=True):
            if self._leaves.setdefault((origin, index), leaf_hash) != leaf_hash:
                return Check(NAME, "INCONSISTENT", f"another bundle has another leaf at index {index} of {origin}")
        if self._places.setdefault(execution_id, (origin, place.positions)) != (origin, place.positions):
            return Check(NAME, "DUPLICATE_ID", f"{execution_id} has two places in the ledger")
        if self._numbers.setdefault((origin, record.seq), execution_id) != execution_id:
            return Check(NAME, "DUPLICATE_ID", f"number {record.seq} of {origin} belongs to two executions")
        container_id = None if record.sandbox is None else record.sandbox.container_id
        if container_id is not None and self._containers.setdefault(container_id, execution_id) != execution_id:
            return Check(NAME, "DUPLICATE_ID", f"container {container_id} was used by two executions")
        return Check(NAME, "OK", "no other bundle contradicts this one")
