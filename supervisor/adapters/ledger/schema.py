"""The ledger's tables: rows of executions, records, leaves and nodes can neither be changed nor deleted."""

__all__ = ["SCHEMA", "SCHEMA_VERSION", "SELECT_ENTRIES"]

SCHEMA_VERSION = 3

_TABLES = """
CREATE TABLE executions (
    seq INTEGER PRIMARY KEY,
    execution_id TEXT NOT NULL UNIQUE,
    plan TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    caller TEXT NOT NULL,
    idempotency_key TEXT,
    accepted_at TEXT NOT NULL,
    envelope BLOB NOT NULL,
    UNIQUE (caller, idempotency_key)
) STRICT;
CREATE INDEX executions_of_caller ON executions (caller);
CREATE TABLE records (
    execution_id TEXT PRIMARY KEY REFERENCES executions (execution_id),
    outcome TEXT NOT NULL,
    envelope BLOB NOT NULL
) STRICT;
-- What the records say that executions used, so that a day's sums need no record.
CREATE TABLE usage (
    execution_id TEXT PRIMARY KEY REFERENCES executions (execution_id),
    caller TEXT NOT NULL,
    day TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    energy_uj INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_of_day ON usage (day);
CREATE TABLE leaves (
    position INTEGER PRIMARY KEY,
    execution_id TEXT NOT NULL REFERENCES executions (execution_id),
    kind TEXT NOT NULL CHECK (kind IN ('started', 'final')),
    leaf BLOB NOT NULL,
    UNIQUE (execution_id, kind)
) STRICT;
-- Complete subtrees of two leaves and more; a leaf's own hash comes from the leaf.
CREATE TABLE nodes (
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoint (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    note TEXT NOT NULL
) STRICT;
CREATE TABLE texts (
    execution_id TEXT PRIMARY KEY REFERENCES executions (execution_id),
    prompt TEXT NOT NULL,
    output TEXT
) STRICT;
"""
# What would be a second row in the same place, by table. INSERT OR REPLACE deletes without asking a trigger on DELETE,
# unless a connection turns recursive triggers on.
_TAKEN = {
    "executions": "seq = NEW.seq OR execution_id = NEW.execution_id "
    "OR (caller = NEW.caller AND idempotency_key = NEW.idempotency_key)",
    "records": "execution_id = NEW.execution_id",
    "usage": "execution_id = NEW.execution_id",
    "leaves": "position = NEW.position OR (execution_id = NEW.execution_id AND kind = NEW.kind)",
    "nodes": "level = NEW.level AND position = NEW.position",
}


_REFUSE = "BEGIN SELECT RAISE(ABORT, 'append-only'); END;"


def _triggers(table: str, taken: str) -> str:
    taken_already = f"EXISTS (SELECT 1 FROM {table} WHERE {taken})"  # noqa: S608 - names from the table above
    return (
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {_REFUSE}\n"
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {_REFUSE}\n"
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {taken_already} {_REFUSE}\n"
    )


SCHEMA = _TABLES + "".join(_triggers(table, taken) for table, taken in _TAKEN.items())
# Position, leaf and envelope of entries; a condition and an order follow.
SELECT_ENTRIES = """
SELECT l.position, l.leaf, CASE l.kind WHEN 'started' THEN e.envelope ELSE r.envelope END
FROM leaves l JOIN executions e USING (execution_id) LEFT JOIN records r USING (execution_id)
"""
