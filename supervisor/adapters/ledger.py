"""The append-only store in SQLite: accepted executions, their signed records, and the texts beside them.

One thread owns the connection, so there is one writer and no lock to wait for. Rows of executions and records can
neither be changed nor deleted (triggers); texts are kept apart, because a text may have to be forgotten one day.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from contracts.execution_plan import ExecutionPlan
from supervisor.domain.errors import StorageError
from supervisor.domain.ports import FinalEntry, StartedEntry, StoredRun

__all__ = ["SqliteLedger"]

_T = TypeVar("_T")

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE executions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL UNIQUE,
    plan TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    accepted_at TEXT NOT NULL
) STRICT;
CREATE TABLE records (
    execution_id TEXT PRIMARY KEY REFERENCES executions (execution_id),
    outcome TEXT NOT NULL,
    envelope BLOB NOT NULL
) STRICT;
CREATE TABLE texts (
    execution_id TEXT PRIMARY KEY REFERENCES executions (execution_id),
    prompt TEXT NOT NULL,
    output TEXT
) STRICT;
CREATE TRIGGER executions_no_update BEFORE UPDATE ON executions BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER executions_no_delete BEFORE DELETE ON executions BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER records_no_update BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER records_no_delete BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'append-only'); END;
-- INSERT OR REPLACE deletes without asking the triggers above, unless a connection turns recursive triggers on.
CREATE TRIGGER executions_no_replace BEFORE INSERT ON executions
WHEN EXISTS (
    SELECT 1 FROM executions
    WHERE seq = NEW.seq OR execution_id = NEW.execution_id OR idempotency_key = NEW.idempotency_key
)
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER records_no_replace BEFORE INSERT ON records
WHEN EXISTS (SELECT 1 FROM records WHERE execution_id = NEW.execution_id)
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""
_SELECT = """
SELECT e.execution_id, e.plan, e.accepted_at, e.request_digest, r.outcome, r.envelope, t.output
FROM executions e LEFT JOIN records r USING (execution_id) LEFT JOIN texts t USING (execution_id)
"""
_SELECT_SUMMARY = """
SELECT e.execution_id, e.plan, e.accepted_at, e.request_digest, r.outcome, NULL, NULL
FROM executions e LEFT JOIN records r USING (execution_id)
"""


def _stored(row: tuple[str, str, str, str, str | None, bytes | None, str | None]) -> StoredRun:
    execution_id, plan, accepted_at, request_digest, outcome, envelope, output = row
    return StoredRun(
        execution_id=execution_id,
        plan=ExecutionPlan.parse(plan.encode("utf-8")),
        accepted_at=datetime.fromisoformat(accepted_at),
        request_digest=request_digest,
        outcome=outcome,
        envelope=envelope,
        output=None if output is None else json.loads(output),
    )


class SqliteLedger:
    """See ``ports.LedgerPort``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the database, and make it where there is none.

        Raises:
            StorageError: it cannot be opened, is damaged, or is of another schema.
        """
        await self._call(self._open)

    async def append_started(self, entry: StartedEntry) -> None:
        """See ``ports.LedgerPort``."""
        await self._call(partial(self._append_started, entry))

    async def append_final(self, entry: FinalEntry) -> None:
        """See ``ports.LedgerPort``."""
        await self._call(partial(self._append_final, entry))

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

    async def close(self) -> None:
        """Close the database."""
        await self._call(self._close)
        self._thread.shutdown()

    async def _call(self, function: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except (sqlite3.OperationalError, OSError) as error:
            detail = f"the ledger cannot be written: {error}; see that its disk has room"
            raise StorageError("storage_full", detail) from error
        except sqlite3.Error as error:
            detail = (
                f"the ledger {self._path} cannot be used: {error}; start the engine that wrote it, or move it away "
                "(its records go with it)"
            )
            raise StorageError("ledger_unsound", detail) from error

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
        self._connection = connection

    def _transact(self, statements: list[tuple[str, tuple[str | bytes | None, ...]]]) -> None:
        database = self._database()
        database.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in statements:
                database.execute(statement, values)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _append_started(self, entry: StartedEntry) -> None:
        execution = (
            entry.execution_id,
            entry.plan.canonical().decode("utf-8"),
            entry.request_digest,
            entry.idempotency_key,
            entry.accepted_at.isoformat(),
        )
        self._transact(
            [
                (
                    "INSERT INTO executions (execution_id, plan, request_digest, idempotency_key, accepted_at) "
                    "VALUES (?, ?, ?, ?, ?)",
                    execution,
                ),
                # As JSON: a text may hold U+0000, at which SQLite's own functions would end it.
                ("INSERT INTO texts VALUES (?, ?, NULL)", (entry.execution_id, json.dumps(entry.prompt))),
            ]
        )

    def _append_final(self, entry: FinalEntry) -> None:
        output = None if entry.output is None else json.dumps(entry.output)
        self._transact(
            [
                ("INSERT INTO records VALUES (?, ?, ?)", (entry.execution_id, entry.outcome, entry.envelope)),
                ("UPDATE texts SET output = ? WHERE execution_id = ?", (output, entry.execution_id)),
            ]
        )

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
