"""The ledger's Merkle tree in its database: append, roots, proofs, and the check of everything at start."""

import sqlite3

from contracts.ledger.merkle import Frontier, hash_leaf, new_nodes, root_of, subtree_places
from contracts.ledger.proof import LeafKind
from contracts.ledger.range_proof import RangeProof, build_range_proof

__all__ = ["LedgerTree", "recompute_root"]

ROWS_AT_ONCE = 10_000


class LedgerTree:
    """The tree as one transaction sees it: nodes that it adds are kept here too, until `adopt`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._frontier: dict[tuple[int, int], bytes] = {}
        self._added: dict[tuple[int, int], bytes] = {}
        self.size = int(connection.execute("SELECT COALESCE(MAX(position) + 1, 0) FROM leaves").fetchone()[0])
        self._next = self.size

    def append(self, execution_id: str, kind: str, leaf: bytes) -> None:
        """Write one leaf and the subtrees that it completes."""
        nodes = new_nodes(self._next, hash_leaf(leaf), self.read)
        values = (self._next, execution_id, kind, leaf)
        self._connection.execute("INSERT INTO leaves VALUES (?, ?, ?, ?)", values)
        self._connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", (node for node in nodes if node[0]))
        self._added |= {(level, position): node_hash for level, position, node_hash in nodes}
        self._next += 1

    def read(self, level: int, position: int) -> bytes:
        """Return the hash of a complete subtree; see ``contracts.ledger.merkle.NodeReader``."""
        place = (level, position)
        known = self._added.get(place) or self._frontier.get(place)
        if known is not None:
            return known
        if level == 0:
            row = self._connection.execute("SELECT leaf FROM leaves WHERE position = ?", (position,)).fetchone()
            return hash_leaf(row[0])
        row = self._connection.execute("SELECT hash FROM nodes WHERE level = ? AND position = ?", place).fetchone()
        return bytes(row[0])

    def leaves(self, first: int, second: int) -> tuple[bytes, ...]:
        """Return the leaves from one position to before another."""
        query = "SELECT leaf FROM leaves WHERE position >= ? AND position < ? ORDER BY position"
        return tuple(bytes(row[0]) for row in self._connection.execute(query, (first, second)))

    def find(self, execution_id: str, kind: LeafKind) -> tuple[int, bytes] | None:
        """Return position and bytes of one leaf, None where there is none."""
        query = "SELECT position, leaf FROM leaves WHERE execution_id = ? AND kind = ?"
        row = self._connection.execute(query, (execution_id, kind)).fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def prove_range(self, first: int, second: int, note: str) -> RangeProof:
        """Return a range proof that leads to a checkpoint over all leaves; see ``contracts.ledger.range_proof``."""
        return build_range_proof(
            first,
            self.leaves(first, second),
            self.read,
            lambda execution_id: self.find(execution_id, "final"),
            note=note,
            size=self.size,
        )

    @property
    def pending_size(self) -> int:
        """Leaves, those of the open transaction included."""
        return self._next

    def pending_root(self) -> bytes:
        """Return the root over them."""
        return root_of(self._next, self.read)

    def mark(self) -> tuple[int, dict[tuple[int, int], bytes]]:
        """Return what `restore` needs to forget leaves appended from now on."""
        return self._next, dict(self._added)

    def restore(self, mark: tuple[int, dict[tuple[int, int], bytes]]) -> None:
        """Forget them: their part of the transaction was rolled back."""
        self._next, self._added = mark

    def forget(self) -> None:
        """Forget everything that was added: the transaction was rolled back."""
        self._next, self._added = self.size, {}

    def adopt(self) -> None:
        """Take what was added for durable, and keep in memory only what the next leaf can need."""
        self.size = self._next
        known = self._frontier | self._added
        self._frontier = {place: known[place] for place in subtree_places(self.size) if place in known}
        self._added = {}


def recompute_root(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """Return the number of leaves and the root over them, from the leaves alone.

    Raises:
        sqlite3.DatabaseError: positions have gaps.
    """
    tree = Frontier()
    cursor = connection.execute("SELECT position, leaf FROM leaves ORDER BY position")
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        for expected, (position, _) in enumerate(rows, tree.size):
            if position != expected:
                message = f"leaf {expected} is missing"
                raise sqlite3.DatabaseError(message)
        tree.extend([hash_leaf(leaf) for _, leaf in rows])
    return tree.size, tree.root()
