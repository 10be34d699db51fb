"""Rows of the ledger's database that cannot be read."""

import sqlite3

import pytest

from supervisor.adapters.ledger.rows import find_run
from supervisor.domain.errors import StorageError

SCHEMA = """
CREATE TABLE executions (seq, execution_id, plan, idempotency_key, accepted_at, request_digest, envelope);
CREATE TABLE records (execution_id, outcome, envelope);
CREATE TABLE texts (execution_id, prompt, output);
INSERT INTO executions VALUES (1, 'exec_1', '{"scheduling": {}}', NULL, '2026-01-31T12:00:00.000Z', 'sha256:0', x'00');
"""


def test_a_plan_of_another_form_is_the_fault_of_the_ledger_not_of_the_request() -> None:
    database = sqlite3.connect(":memory:")
    try:
        database.executescript(SCHEMA)
        with pytest.raises(StorageError, match="the plan of exec_1 in the ledger cannot be read") as refused:
            find_run(database, "exec_1")
    finally:
        database.close()
    assert refused.value.code == "ledger_unsound"
