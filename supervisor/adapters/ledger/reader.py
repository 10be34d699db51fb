"""One state of a ledger, read from its database without writing to it, also while a supervisor does."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.execution.execution_plan import ExecutionPlan
from contracts.ledger.export import OpenExecution
from contracts.ledger.note import parse_note
from contracts.ledger.proof import Checkpoint
from contracts.ledger.range_proof import RANGE_MAX, RangeProof
from supervisor.adapters.ledger.schema import SCHEMA_VERSION, SELECT_ENTRIES
from supervisor.adapters.ledger.tree import LedgerTree
from supervisor.domain.errors import EngineError
from supervisor.domain.records.ports import LedgerEntry

__all__ = ["LedgerReader", "read_ledger"]


class LedgerReader:
    """The ledger as its last checkpoint says; what is appended meanwhile is not seen."""

    def __init__(self, connection: sqlite3.Connection, note: str) -> None:
        self._connection = connection
        self._tree = LedgerTree(connection)
        self.note = note
        """The signed checkpoint."""
        self.checkpoint = Checkpoint.of_note(parse_note(note.encode("utf-8")))

    def entries(self) -> Iterator[LedgerEntry]:
        """Give every entry, in order."""
        for row in self._connection.execute(SELECT_ENTRIES + "ORDER BY l.position"):
            yield LedgerEntry(*row)

    def open_executions(self) -> tuple[OpenExecution, ...]:
        """Return the executions without a final entry, in the order of acceptance."""
        query = "SELECT execution_id, plan FROM executions WHERE execution_id NOT IN (SELECT execution_id FROM records)"
        return tuple(
            OpenExecution(execution_id=execution_id, plan=ExecutionPlan.parse(plan.encode("utf-8")))
            for execution_id, plan in self._connection.execute(query + " ORDER BY seq")
        )

    def range_proofs(self, first: int, second: int) -> Iterator[RangeProof]:
        """Give the range proofs that together lead from one size to another.

        Raises:
            EngineError: ``ledger_range_unknown``.
        """
        if not 0 <= first < second <= self.checkpoint.size:
            detail = f"the ledger has {self.checkpoint.size} entries; 0 <= from < to <= {self.checkpoint.size}"
            raise EngineError("ledger_range_unknown", detail)
        for begin in range(first, second, RANGE_MAX):
            yield self._tree.prove_range(begin, min(begin + RANGE_MAX, second), self.note)


@contextmanager
def read_ledger(path: Path) -> Iterator[LedgerReader]:
    """Open a ledger for as long as the block runs; it is not checked here against its checkpoint.

    A writer is not kept waiting, but the file beside the database in which SQLite keeps what was written lately grows
    until the block ends.

    Raises:
        EngineError: ``ledger_missing``, there is none or it has no entries; ``ledger_unsound``, it cannot be read.
    """
    if not path.is_file():
        raise EngineError("ledger_missing", f"there is no ledger {path}; the supervisor makes it when it first serves")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            # One transaction is one state of the database.
            connection.execute("BEGIN")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                detail = f"the ledger {path} has schema {version}, this engine knows {SCHEMA_VERSION}"
                raise EngineError("ledger_unsound", detail)
            row = connection.execute("SELECT note FROM checkpoint").fetchone()
            if row is None:
                raise EngineError("ledger_missing", f"the ledger {path} has no entries yet")
            yield LedgerReader(connection, str(row[0]))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise EngineError("ledger_unsound", f"the ledger {path} cannot be read: {error}") from error
