"""The append-only store in SQLite: accepted executions, their signed records, and the Merkle log over both.

One thread owns the connection, so there is one writer and no lock to wait for. What is appended while a transaction is
under way goes into the next one together (group commit). Row, leaf, tree nodes and checkpoint become durable in one
transaction; a copy of the last checkpoint lies outside the database, so that a restored backup is noticed. Texts are
kept apart, because a text may have to be forgotten one day.
"""

import asyncio
import json
import logging
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.base import ContractError
from contracts.envelope import Signer
from contracts.execution_plan import ExecutionPlan
from contracts.ledger_proof import Checkpoint, InclusionProof, LeafKind, build_leaf
from contracts.merkle import prove_consistency, prove_inclusion, root_of
from contracts.note import Verifier, parse_note, sign_note, verifier_of
from contracts.range_proof import RangeProof
from contracts.trust import key_fingerprint
from supervisor.adapters.checkpoint_file import CheckpointFile
from supervisor.adapters.ledger_schema import SCHEMA, SCHEMA_VERSION, SELECT_ENTRIES
from supervisor.adapters.ledger_tree import LedgerTree, recompute_root
from supervisor.domain.errors import Refusal, StorageError
from supervisor.domain.ports import FinalEntry, LedgerEntry, StartedEntry, StoredRun

__all__ = ["LogIdentity", "SqliteLedger", "identify_log"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Entries of one transaction; more wait for the next.
GROUP_MAX = 256
SCHEMA_WITHOUT_LOG = 1
_SELECT = """
SELECT e.seq, e.execution_id, e.plan, e.accepted_at, e.request_digest, e.envelope, r.outcome, r.envelope, t.output
FROM executions e LEFT JOIN records r USING (execution_id) LEFT JOIN texts t USING (execution_id)
"""
_SELECT_SUMMARY = """
SELECT e.seq, e.execution_id, e.plan, e.accepted_at, e.request_digest, e.envelope, r.outcome, NULL, NULL
FROM executions e LEFT JOIN records r USING (execution_id)
"""


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Who the log is: its name and key, and the manifest of the engine version that writes (None: development)."""

    verifier: Verifier
    signer: Signer
    manifest: str | None


def identify_log(key: Ed25519PublicKey) -> Verifier:
    """Return the verifier of a home's log: its name follows from its key."""
    return verifier_of(f"weos-engine/ledger/{key_fingerprint(key)[:16]}", key)


def _stored(row: tuple[int, str, str, str, str, bytes, str | None, bytes | None, str | None]) -> StoredRun:
    seq, execution_id, plan, accepted_at, request_digest, started_envelope, outcome, envelope, output = row
    return StoredRun(
        seq=seq,
        execution_id=execution_id,
        plan=ExecutionPlan.parse(plan.encode("utf-8")),
        accepted_at=datetime.fromisoformat(accepted_at),
        request_digest=request_digest,
        started_envelope=started_envelope,
        outcome=outcome,
        envelope=envelope,
        output=None if output is None else json.loads(output),
    )


class SqliteLedger:
    """See ``ports.LedgerPort``."""

    def __init__(self, path: Path, identity: LogIdentity, checkpoint_copy: Path) -> None:
        self._path = path
        self._identity = identity
        self._copy = CheckpointFile(checkpoint_copy, identity.verifier)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._connection: sqlite3.Connection | None = None
        self._tree: LedgerTree
        self._pending: deque[tuple[StartedEntry | FinalEntry, asyncio.Future[int]]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._newest_note: str | None = None

    async def open(self) -> None:
        """Open the database, make it where there is none, and check the whole log against its last checkpoint.

        Raises:
            StorageError: it cannot be opened, is of another schema, or is not the log that was checkpointed.
        """
        await self._call(self._open)

    async def append_started(self, entry: StartedEntry) -> int:
        """See ``ports.LedgerPort``."""
        return await self._append(entry)

    async def append_final(self, entry: FinalEntry) -> None:
        """See ``ports.LedgerPort``."""
        await self._append(entry)

    async def find(self, execution_id: str) -> StoredRun | None:
        """See ``ports.LedgerPort``."""
        rows = await self._select(_SELECT + "WHERE e.execution_id = ?", execution_id)
        return rows[0] if rows else None

    async def find_by_key(self, idempotency_key: str) -> StoredRun | None:
        """See ``ports.LedgerPort``."""
        rows = await self._select(_SELECT + "WHERE e.idempotency_key = ?", idempotency_key)
        return rows[0] if rows else None

    async def page(self, *, before: str | None, limit: int) -> tuple[StoredRun, ...]:
        """See ``ports.LedgerPort``."""
        where = "WHERE (?1 IS NULL OR e.seq < (SELECT seq FROM executions WHERE execution_id = ?1)) "
        return await self._select(_SELECT_SUMMARY + where + "ORDER BY e.seq DESC LIMIT ?2", before, limit)

    async def unfinished(self) -> tuple[StoredRun, ...]:
        """See ``ports.LedgerPort``."""
        return await self._select(_SELECT + "WHERE r.execution_id IS NULL ORDER BY e.seq")

    async def checkpoint(self) -> str:
        """See ``ports.LedgerPort``."""
        return await self._call(self._checkpoint)

    async def prove(self, execution_id: str, kind: LeafKind) -> InclusionProof:
        """See ``ports.LedgerPort``."""
        return await self._call(partial(self._prove, execution_id, kind))

    async def prove_both(self, execution_id: str) -> tuple[InclusionProof, InclusionProof]:
        """See ``ports.LedgerPort``."""
        return await self._call(lambda: (self._prove(execution_id, "started"), self._prove(execution_id, "final")))

    async def prove_consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """See ``ports.LedgerPort``."""
        return await self._call(partial(self._prove_consistency, first, second))

    async def prove_range(self, first: int, second: int) -> RangeProof:
        """See ``ports.LedgerPort``."""
        return await self._call(partial(self._prove_range, first, second))

    async def entries(self, *, start: int, limit: int) -> tuple[LedgerEntry, ...]:
        """See ``ports.LedgerPort``."""

        def select() -> tuple[LedgerEntry, ...]:
            where = "WHERE l.position >= ? ORDER BY l.position LIMIT ?"
            return tuple(LedgerEntry(*row) for row in self._database().execute(SELECT_ENTRIES + where, (start, limit)))

        return await self._call(select)

    async def close(self) -> None:
        """Write what is still waiting and close the database."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._call(self._close)
        self._thread.shutdown()

    async def _append(self, entry: StartedEntry | FinalEntry) -> int:
        written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pending.append((entry, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_pending(), name="ledger-writer")
        return await written

    async def _write_pending(self) -> None:
        while self._pending:
            group = [self._pending.popleft() for _ in range(min(GROUP_MAX, len(self._pending)))]
            try:
                results: Sequence[int | Exception] = await self._call(
                    partial(self._write, [entry for entry, _ in group])
                )
            except Exception as fault:  # noqa: BLE001 - the task's boundary: whoever waits is told
                results = [fault] * len(group)
            for (_, written), result in zip(group, results, strict=True):
                if written.done():
                    continue
                if isinstance(result, Exception):
                    written.set_exception(result)
                else:
                    written.set_result(result)
            # Its file is written and synced, which takes as long as the commit did: nobody waits for that.
            await self._call(self._copy_checkpoint)

    async def _call(self, function: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except (sqlite3.Error, OSError) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> StorageError:
        if isinstance(error, sqlite3.OperationalError | OSError):
            return StorageError("storage_full", f"the ledger cannot be written: {error}; see that its disk has room")
        detail = (
            f"the ledger {self._path} cannot be used: {error}; start the engine that wrote it, or move it away "
            "(its records go with it)"
        )
        return StorageError("ledger_unsound", detail)

    async def _select(self, query: str, *values: str | int | None) -> tuple[StoredRun, ...]:
        def select() -> tuple[StoredRun, ...]:
            return tuple(_stored(row) for row in self._database().execute(query, values))

        return await self._call(select)

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            message = "the ledger is not open"
            raise sqlite3.ProgrammingError(message)
        return self._connection

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.touch(mode=0o600)
        self._set_aside_old_schema()
        connection = sqlite3.connect(self._path, isolation_level=None)
        # FULL, because with NORMAL a commit in WAL mode is not yet on the disk when it returns.
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            message = f"it has schema {version}, this engine knows {SCHEMA_VERSION}"
            raise sqlite3.DatabaseError(message)
        self._tree = LedgerTree(connection)
        self._connection = connection
        self._check()

    def _set_aside_old_schema(self) -> None:
        """Move a database from before there was a log: nothing proves that none of its records is missing."""
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_WITHOUT_LOG:
                return
            connection.execute("PRAGMA journal_mode = DELETE")
        finally:
            connection.close()
        aside = self._path.with_name(f"without-log-{secrets.token_hex(4)}.sqlite3")
        self._path.rename(aside)
        self._path.touch(mode=0o600)
        _log.warning("the ledger was made before there was a Merkle log; it is kept as %s, a new one begins", aside)

    def _check(self) -> None:
        """Hold the leaves against the last checkpoint, and that against its copy outside."""
        size, root = recompute_root(self._database())
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
        row = self._database().execute("SELECT note FROM checkpoint").fetchone()
        return None if row is None else str(row[0])

    def _write(self, group: list[StartedEntry | FinalEntry]) -> list[int | Exception]:
        database = self._database()
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

    def _copy_checkpoint(self) -> None:
        if self._newest_note is not None:
            self._copy.write_soon(self._newest_note)

    def _write_one(self, entry: StartedEntry | FinalEntry) -> int | Exception:
        # One that cannot be written does not take the others of its group with it.
        database, mark = self._database(), self._tree.mark()
        database.execute("SAVEPOINT entry")
        try:
            seq = self._write_started(entry) if isinstance(entry, StartedEntry) else self._write_final(entry)
        except (sqlite3.OperationalError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - a fault of this entry alone
            database.execute("ROLLBACK TO entry")
            database.execute("RELEASE entry")
            self._tree.restore(mark)
            return self._fault(error) if isinstance(error, sqlite3.Error) else error
        database.execute("RELEASE entry")
        return seq

    def _write_started(self, entry: StartedEntry) -> int:
        database = self._database()
        seq = int(database.execute("SELECT COALESCE(MAX(seq), 0) + 1 FROM executions").fetchone()[0])
        envelope = entry.seal(seq)
        values = (
            seq,
            entry.execution_id,
            entry.plan.canonical().decode("utf-8"),
            entry.request_digest,
            entry.idempotency_key,
            entry.accepted_at.isoformat(),
            envelope,
        )
        database.execute("INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        # As JSON: a text may hold U+0000, at which SQLite's own functions would end it.
        database.execute("INSERT INTO texts VALUES (?, ?, NULL)", (entry.execution_id, json.dumps(entry.prompt)))
        self._append_leaf("started", seq, entry.execution_id, envelope)
        return seq

    def _write_final(self, entry: FinalEntry) -> int:
        database = self._database()
        row = database.execute("SELECT seq FROM executions WHERE execution_id = ?", (entry.execution_id,)).fetchone()
        if row is None:
            message = "an execution that was never accepted has no record"
            raise sqlite3.IntegrityError(message)
        output = None if entry.output is None else json.dumps(entry.output)
        database.execute("INSERT INTO records VALUES (?, ?, ?)", (entry.execution_id, entry.outcome, entry.envelope))
        database.execute("UPDATE texts SET output = ? WHERE execution_id = ?", (output, entry.execution_id))
        self._append_leaf("final", int(row[0]), entry.execution_id, entry.envelope)
        return int(row[0])

    def _append_leaf(self, kind: LeafKind, seq: int, execution_id: str, envelope: bytes) -> None:
        leaf = build_leaf(kind, seq, execution_id, envelope, self._identity.manifest)
        self._tree.append(execution_id, kind, leaf.canonical())

    def _sign_checkpoint(self) -> str:
        checkpoint = Checkpoint(self._identity.verifier.name, self._tree.pending_size, self._tree.pending_root())
        return sign_note(checkpoint.text, self._identity.verifier, self._identity.signer)

    def _checkpoint(self) -> str:
        return self._stored_checkpoint() or self._sign_checkpoint()

    def _prove(self, execution_id: str, kind: LeafKind) -> InclusionProof:
        self._database()
        tree = self._tree
        found = tree.find(execution_id, kind)
        if found is None:
            detail = "the ledger has no such entry; a `final` one is made when the execution ends"
            raise Refusal("ledger_entry_not_found", detail)
        position = found[0]
        return InclusionProof(position, tuple(prove_inclusion(position, tree.size, tree.read)), self._checkpoint())

    def _prove_consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        if not 0 < first <= second <= self._tree.size:
            detail = f"the ledger has {self._tree.size} entries; 0 < from <= to <= {self._tree.size}"
            raise Refusal("ledger_range_unknown", detail)
        return tuple(prove_consistency(first, second, self._tree.read))

    def _prove_range(self, first: int, second: int) -> RangeProof:
        self._database()
        if not 0 <= first <= second <= self._tree.size or second == 0:
            detail = f"the ledger has {self._tree.size} entries; 0 <= from <= to <= {self._tree.size}"
            raise Refusal("ledger_range_unknown", detail)
        return self._tree.prove_range(first, second, self._checkpoint())

    def _close(self) -> None:
        if self._connection is None:
            return
        note = self._stored_checkpoint()
        if note is not None:
            self._copy.write(note)
        self._connection.close()
        self._connection = None
