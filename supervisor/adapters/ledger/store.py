"""The append-only store in SQLite: accepted executions, their signed records, and the Merkle log over both.

One thread owns the database, so there is one writer and no lock to wait for. What is appended while a transaction is
under way goes into the next one together (group commit).
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from contracts.ledger.proof import InclusionProof, LeafKind
from contracts.ledger.range_proof import RangeProof
from supervisor.adapters.ledger.database import LedgerDatabase
from supervisor.adapters.ledger.log_identity import LogIdentity
from supervisor.adapters.ledger.rows import (
    find_run,
    find_run_by_key,
    read_entries,
    read_page,
    read_unfinished,
    sum_usage,
)
from supervisor.domain.access.usage import Usage
from supervisor.domain.records.ports import FinalEntry, LedgerEntry, StartedEntry, StoredRun

__all__ = ["SqliteLedger"]

_T = TypeVar("_T")
_P = ParamSpec("_P")

# Entries of one transaction; more wait for the next.
GROUP_MAX = 256
# Executions whose texts are erased in one transaction, so that entries are not kept waiting.
ERASED_AT_ONCE = 1000


class SqliteLedger:
    """See ``ledger_port.LedgerPort``."""

    def __init__(self, path: Path, identity: LogIdentity, checkpoint_copy: Path) -> None:
        self._database = LedgerDatabase(path, identity, checkpoint_copy)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._pending: deque[tuple[StartedEntry | FinalEntry, asyncio.Future[int]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the database, make it where there is none, and check the whole log against its last checkpoint.

        Raises:
            StorageError: it cannot be opened, is of another schema, or is not the log that was checkpointed.
        """
        await self._call(self._database.open)

    async def append_started(self, entry: StartedEntry) -> int:
        """See ``ledger_port.LedgerPort``."""
        return await self._append(entry)

    async def append_final(self, entry: FinalEntry) -> None:
        """See ``ledger_port.LedgerPort``."""
        await self._append(entry)

    async def erase_texts(self, accepted_before: datetime) -> int:
        """See ``ledger_port.LedgerPort``."""
        total = 0
        while erased := await self._call(partial(self._database.erase_texts, accepted_before, ERASED_AT_ONCE)):
            total += erased
        return total

    async def find(self, execution_id: str) -> StoredRun | None:
        """See ``ledger_port.LedgerPort``."""
        return await self._read(find_run, execution_id)

    async def find_by_key(self, caller: str, idempotency_key: str) -> StoredRun | None:
        """See ``ledger_port.LedgerPort``."""
        return await self._read(find_run_by_key, caller, idempotency_key)

    async def page(self, *, before: str | None, limit: int, caller: str | None) -> tuple[StoredRun, ...]:
        """See ``ledger_port.LedgerPort``."""
        return await self._read(read_page, before, limit, caller)

    async def unfinished(self) -> tuple[StoredRun, ...]:
        """See ``ledger_port.LedgerPort``."""
        return await self._read(read_unfinished)

    async def usage_on(self, day: str) -> Mapping[str, Usage]:
        """See ``ledger_port.LedgerPort``."""
        return await self._read(sum_usage, day)

    async def checkpoint(self) -> str:
        """See ``ledger_port.LedgerPort``."""
        return await self._call(self._database.checkpoint)

    async def prove(self, execution_id: str, kind: LeafKind) -> InclusionProof:
        """See ``ledger_port.LedgerPort``."""
        return await self._call(partial(self._database.prove, execution_id, kind))

    async def prove_both(self, execution_id: str) -> tuple[InclusionProof, InclusionProof]:
        """See ``ledger_port.LedgerPort``."""
        return await self._call(partial(self._database.prove_both, execution_id))

    async def prove_consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """See ``ledger_port.LedgerPort``."""
        return await self._call(partial(self._database.prove_consistency, first, second))

    async def prove_range(self, first: int, second: int) -> RangeProof:
        """See ``ledger_port.LedgerPort``."""
        return await self._call(partial(self._database.prove_range, first, second))

    async def entries(self, *, start: int, limit: int) -> tuple[LedgerEntry, ...]:
        """See ``ledger_port.LedgerPort``."""
        return await self._read(read_entries, start, limit)

    async def close(self) -> None:
        """Write what is still waiting and close the database."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._call(self._database.close)
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
                    partial(self._database.write, [entry for entry, _ in group])
                )
            except Exception as fault:  # noqa: BLE001 - the task's boundary: every waiting caller gets it
                results = [fault] * len(group)
            for (_, written), result in zip(group, results, strict=True):
                if written.done():
                    continue
                if isinstance(result, Exception):
                    written.set_exception(result)
                else:
                    written.set_result(result)
            # Its file is written and synced, which takes as long as the commit did: nobody waits for that.
            await self._call(self._database.copy_checkpoint)

    async def _read(
        self, reading: Callable[Concatenate[sqlite3.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        return await self._call(lambda: reading(self._database.connection(), *args, **kwargs))

    async def _call(self, function: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except (sqlite3.Error, OSError) as error:
            raise self._database.fault_of(error) from error
