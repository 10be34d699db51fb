"""The ledger's SQLite database, opened, checked, written and proven by the one thread that owns it.

Row, leaf, tree nodes and checkpoint become durable in one transaction; a copy of the last checkpoint lies outside the
database, so that a restored backup is noticed. Texts are kept apart, because a text may have to be forgotten one day.
"""

import json
import sqlite3
from datetime import datetime
from pathlib import Path

from contracts.ledger.merkle import prove_consistency, prove_inclusion, root_of
from contracts.ledger.note import parse_note, sign_note
from contracts.ledger.proof import Checkpoint, InclusionProof, LeafKind, build_leaf
from contracts.ledger.range_proof import RangeProof
from contracts.wire.errors import ContractError
from supervisor.adapters.ledger.checkpoint_file import CheckpointFile
from supervisor.adapters.ledger.log_identity import LogIdentity
from supervisor.adapters.ledger.schema import SCHEMA, SCHEMA_VERSION
from supervisor.adapters.ledger.tree import LedgerTree, recompute_root
from supervisor.domain.errors import Refusal, StorageError
from supervisor.domain.records.ports import FinalEntry, StartedEntry

__all__ = ["LedgerDatabase"]


class LedgerDatabase:
    """Rows, tree and checkpoint. Not for two threads at once."""

    def __init__(self, path: Path, identity: LogIdentity, checkpoint_copy: Path) -> None:
        self._path = path
        self._identity = identity
        self._copy = CheckpointFile(checkpoint_copy, identity.verifier)
        self._connection: sqlite3.Connection | None = None
        self._tree: LedgerTree
        self._newest_note: str | None = None

    def connection(self) -> sqlite3.Connection:
        """Return the open database."""
        if self._connection is None:
            message = "the ledger is not open"
            raise sqlite3.ProgrammingError(message)
        return self._connection

    def open(self) -> None:
        """Open the database, make it where there is none, and check the whole log against its last checkpoint.

        Raises:
            sqlite3.DatabaseError: it is of another schema, or is not the log that was checkpointed.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            self._prepare(connection)
            self._tree = LedgerTree(connection)
            self._connection = connection
            self._check()
        except BaseException:
            self._connection = None
            connection.close()
            raise

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # FULL, because with NORMAL a commit in WAL mode is not yet on the disk when it returns.
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "trusted_schema = OFF",
            # An erased text is overwritten, not only unlinked.
            "secure_delete = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            message = (
                f"it has schema {version}, this engine knows {SCHEMA_VERSION}; to begin another log, move away "
                "ledger/, checkpoint.note and keys/log.pem of WEOS_HOME together"
            )
            raise sqlite3.DatabaseError(message)

    def _check(self) -> None:
        """Hold the leaves against the last checkpoint, and that against its copy outside."""
        size, root = recompute_root(self.connection())
        note = self._stored_checkpoint()
        if note is None and size == 0:
            self._copy.require_not_ahead(0, lambda _: root)
            return
        if note is None or self._read_checkpoint(note) != Checkpoint(self._identity.verifier.name, size, root):
            message = "its leaves do not lead to its last checkpoint"
            raise sqlite3.DatabaseError(message)
        self._copy.require_not_ahead(size, lambda first: root_of(first, self._tree.read))
        self._copy.write(note)

    def _read_checkpoint(self, note: str) -> Checkpoint:
        try:
            parsed = parse_note(note.encode("utf-8"))
            if self._identity.verifier.holds(parsed) is not True:
                message = "its last checkpoint is not signed by this log's key"
                raise sqlite3.DatabaseError(message)
            return Checkpoint.of_note(parsed)
        except ContractError as error:
            message = f"its last checkpoint is none ({error})"
            raise sqlite3.DatabaseError(message) from error

    def _stored_checkpoint(self) -> str | None:
        row = self.connection().execute("SELECT note FROM checkpoint").fetchone()
        return None if row is None else str(row[0])

    def write(self, group: list[StartedEntry | FinalEntry]) -> list[int | Exception]:
        """Write entries in one transaction; for each its `seq`, or the fault that is its own."""
        database = self.connection()
        database.execute("BEGIN IMMEDIATE")
        try:
            results = [self._write_one(entry) for entry in group]
            note = self._sign_checkpoint()
            database.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?)", (note,))
            database.execute("COMMIT")
        except BaseException:
            self._tree.forget()
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self._tree.adopt()
        self._newest_note = note
        return results

    def copy_checkpoint(self) -> None:
        """Bring the copy outside up to the last transaction, if it is time to."""
        if self._newest_note is not None:
            self._copy.write_soon(self._newest_note)

    def _write_one(self, entry: StartedEntry | FinalEntry) -> int | Exception:
        # One that cannot be written does not take the others of its group with it.
        database, mark = self.connection(), self._tree.mark()
        database.execute("SAVEPOINT entry")
        try:
            seq = self._write_started(entry) if isinstance(entry, StartedEntry) else self._write_final(entry)
        except (sqlite3.OperationalError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - a fault of this entry alone
            database.execute("ROLLBACK TO entry")
            database.execute("RELEASE entry")
            self._tree.restore(mark)
            return self.fault_of(error) if isinstance(error, sqlite3.Error) else error
        database.execute("RELEASE entry")
        return seq

    def _write_started(self, entry: StartedEntry) -> int:
        database = self.connection()
        seq = int(database.execute("SELECT COALESCE(MAX(seq), 0) + 1 FROM executions").fetchone()[0])
        envelope = entry.seal(seq)
        values = (
            seq,
            entry.execution_id,
            entry.plan.canonical().decode("utf-8"),
            entry.request_digest,
            entry.plan.caller,
            entry.idempotency_key,
            entry.accepted_at.isoformat(),
            envelope,
        )
        database.execute("INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        # As JSON: a text may hold U+0000, at which SQLite's own functions would end it.
        database.execute("INSERT INTO texts VALUES (?, ?, NULL)", (entry.execution_id, json.dumps(entry.prompt)))
        self._append_leaf("started", seq, entry.execution_id, envelope)
        return seq

    def _write_final(self, entry: FinalEntry) -> int:
        database = self.connection()
        row = database.execute(
            "SELECT seq, caller FROM executions WHERE execution_id = ?", (entry.execution_id,)
        ).fetchone()
        if row is None:
            message = "an execution that was never accepted has no record"
            raise sqlite3.IntegrityError(message)
        output = None if entry.output is None else json.dumps(entry.output)
        database.execute("INSERT INTO records VALUES (?, ?, ?)", (entry.execution_id, entry.outcome, entry.envelope))
        used = (entry.execution_id, row[1], entry.finished_on, entry.usage.tokens, entry.usage.energy_uj)
        database.execute("INSERT INTO usage VALUES (?, ?, ?, ?, ?)", used)
        database.execute("UPDATE texts SET output = ? WHERE execution_id = ?", (output, entry.execution_id))
        self._append_leaf("final", int(row[0]), entry.execution_id, entry.envelope)
        return int(row[0])

    def erase_texts(self, accepted_before: datetime, limit: int) -> int:
        """Erase prompts and outputs of up to `limit` ended executions; return of how many.

        An empty prompt marks them: a stored one is JSON, which is never empty.
        """
        database = self.connection()
        query = (
            "UPDATE texts SET prompt = '', output = NULL WHERE execution_id IN (SELECT execution_id FROM texts "
            "JOIN executions USING (execution_id) JOIN records USING (execution_id) "
            "WHERE prompt <> '' AND accepted_at < ? LIMIT ?)"
        )
        erased = database.execute(query, (accepted_before.isoformat(), limit)).rowcount
        if erased:
            # The file beside the database holds what was written lately, the erased texts too.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return erased

    def _append_leaf(self, kind: LeafKind, seq: int, execution_id: str, envelope: bytes) -> None:
        leaf = build_leaf(kind, seq, execution_id, envelope, self._identity.manifest)
        self._tree.append(execution_id, kind, leaf.canonical())

    def _sign_checkpoint(self) -> str:
        checkpoint = Checkpoint(self._identity.verifier.name, self._tree.pending_size, self._tree.pending_root())
        return sign_note(checkpoint.text, self._identity.verifier, self._identity.signer)

    def checkpoint(self) -> str:
        """Return the last checkpoint; of an empty log a new one."""
        return self._stored_checkpoint() or self._sign_checkpoint()

    def prove(self, execution_id: str, kind: LeafKind) -> InclusionProof:
        """Return a proof of one entry.

        Raises:
            Refusal: ``ledger_entry_not_found``.
        """
        self.connection()
        tree = self._tree
        found = tree.find(execution_id, kind)
        if found is None:
            detail = "the ledger has no such entry; a `final` one is made when the execution ends"
            raise Refusal("ledger_entry_not_found", detail)
        position = found[0]
        return InclusionProof(position, tuple(prove_inclusion(position, tree.size, tree.read)), self.checkpoint())

    def prove_both(self, execution_id: str) -> tuple[InclusionProof, InclusionProof]:
        """Return proofs of both entries of an execution, to one checkpoint; raises like `prove`."""
        return self.prove(execution_id, "started"), self.prove(execution_id, "final")

    def prove_consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """Return what proves that one state of the log extends another.

        Raises:
            Refusal: ``ledger_range_unknown``.
        """
        if not 0 < first <= second <= self._tree.size:
            detail = f"the ledger has {self._tree.size} entries; 0 < from <= to <= {self._tree.size}"
            raise Refusal("ledger_range_unknown", detail)
        return tuple(prove_consistency(first, second, self._tree.read))

    def prove_range(self, first: int, second: int) -> RangeProof:
        """Return a proof of all entries of a range.

        Raises:
            Refusal: ``ledger_range_unknown``.
        """
        self.connection()
        if not 0 <= first <= second <= self._tree.size or second == 0:
            detail = f"the ledger has {self._tree.size} entries; 0 <= from <= to <= {self._tree.size}"
            raise Refusal("ledger_range_unknown", detail)
        return self._tree.prove_range(first, second, self.checkpoint())

    def fault_of(self, error: Exception) -> StorageError:
        """Return what an error of the database or its disk means to the caller."""
        if isinstance(error, sqlite3.OperationalError | OSError):
            return StorageError("storage_full", f"the ledger cannot be written: {error}; see that its disk has room")
        detail = (
            f"the ledger {self._path} cannot be used: {error}; start the engine that wrote it, or move it away "
            "(its records go with it)"
        )
        return StorageError("ledger_unsound", detail)

    def close(self) -> None:
        """Bring the copy outside up to date and close, if it is open."""
        if self._connection is None:
            return
        note = self._stored_checkpoint()
        if note is not None:
            self._copy.write(note)
        self._connection.close()
        self._connection = None
