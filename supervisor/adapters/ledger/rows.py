"""Executions and entries, read from the ledger's database."""

import json
import sqlite3
from datetime import datetime

from contracts.execution.execution_plan import ExecutionPlan
from contracts.wire.errors import ContractError
from supervisor.adapters.ledger.schema import SELECT_ENTRIES
from supervisor.domain.access.usage import Usage
from supervisor.domain.errors import StorageError
from supervisor.domain.records.ports import LedgerEntry, StoredRun

__all__ = ["find_run", "find_run_by_key", "read_entries", "read_page", "read_unfinished", "sum_usage"]

_SELECT = """
SELECT e.seq, e.execution_id, e.plan, e.accepted_at, e.request_digest, e.envelope, r.outcome, r.envelope, t.output,
    COALESCE(t.prompt = '', 0)
FROM executions e LEFT JOIN records r USING (execution_id) LEFT JOIN texts t USING (execution_id)
"""
_SELECT_SUMMARY = """
SELECT e.seq, e.execution_id, e.plan, e.accepted_at, e.request_digest, e.envelope, r.outcome, NULL, NULL, 0
FROM executions e LEFT JOIN records r USING (execution_id)
"""


def _stored(row: tuple[int, str, str, str, str, bytes, str | None, bytes | None, str | None, int]) -> StoredRun:
    seq, execution_id, plan, accepted_at, request_digest, started_envelope, outcome, envelope, output, erased = row
    return StoredRun(
        seq=seq,
        execution_id=execution_id,
        plan=_parse_plan(execution_id, plan),
        accepted_at=datetime.fromisoformat(accepted_at),
        request_digest=request_digest,
        started_envelope=started_envelope,
        outcome=outcome,
        envelope=envelope,
        output=None if output is None else json.loads(output),
        are_texts_erased=bool(erased),
    )


def _parse_plan(execution_id: str, plan: str) -> ExecutionPlan:
    try:
        return ExecutionPlan.parse(plan.encode("utf-8"))
    except ContractError as error:
        detail = (
            f"the plan of {execution_id} in the ledger cannot be read ({error}): it is damaged, or an earlier "
            "development tree wrote it; use a new WEOS_HOME"
        )
        raise StorageError("ledger_unsound", detail) from error


def find_run(database: sqlite3.Connection, execution_id: str) -> StoredRun | None:
    """Return one execution."""
    rows = _select(database, _SELECT + "WHERE e.execution_id = ?", execution_id)
    return rows[0] if rows else None


def find_run_by_key(database: sqlite3.Connection, caller: str, idempotency_key: str) -> StoredRun | None:
    """Return the execution that a caller asked for under a key."""
    rows = _select(database, _SELECT + "WHERE e.caller = ? AND e.idempotency_key = ?", caller, idempotency_key)
    return rows[0] if rows else None


def read_page(
    database: sqlite3.Connection, before: str | None, limit: int, caller: str | None
) -> tuple[StoredRun, ...]:
    """Return the newest executions, or those accepted before one, without records and texts."""
    # Python 3.14 takes numbered parameters (?1) for named ones and refuses them in a sequence.
    where = "WHERE (? IS NULL OR e.seq < (SELECT seq FROM executions WHERE execution_id = ?)) "
    values: tuple[str | int | None, ...] = (before, before)
    # Apart, so that the index over callers serves the list of one.
    if caller is not None:
        where, values = where + "AND e.caller = ? ", (*values, caller)
    return _select(database, _SELECT_SUMMARY + where + "ORDER BY e.seq DESC LIMIT ?", *values, limit)


def read_unfinished(database: sqlite3.Connection) -> tuple[StoredRun, ...]:
    """Return the executions that have no record."""
    return _select(database, _SELECT + "WHERE r.execution_id IS NULL ORDER BY e.seq")


def sum_usage(database: sqlite3.Connection, day: str) -> dict[str, Usage]:
    """Return what the executions that ended on a day used, by caller."""
    query = "SELECT caller, SUM(tokens), SUM(energy_uj) FROM usage WHERE day = ? GROUP BY caller"
    return {caller: Usage(tokens, energy_uj) for caller, tokens, energy_uj in database.execute(query, (day,))}


def read_entries(database: sqlite3.Connection, start: int, limit: int) -> tuple[LedgerEntry, ...]:
    """Return entries from a position on."""
    where = "WHERE l.position >= ? ORDER BY l.position LIMIT ?"
    return tuple(LedgerEntry(*row) for row in database.execute(SELECT_ENTRIES + where, (start, limit)))


def _select(database: sqlite3.Connection, query: str, *values: str | int | None) -> tuple[StoredRun, ...]:
    return tuple(_stored(row) for row in database.execute(query, values))
