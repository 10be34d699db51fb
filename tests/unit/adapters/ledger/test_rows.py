"""Rows of the ledger's database that cannot be read, and how queries name their parameters."""

import re
import sqlite3

import pytest

from supervisor.adapters.ledger.rows import find_run
from supervisor.domain.errors import StorageError
from tests.places import REPOSITORY

SCHEMA = """
CREATE TABLE executions (seq, execution_id, plan, caller, idempotency_key, accepted_at, request_digest, envelope);
CREATE TABLE records (execution_id, outcome, envelope);
CREATE TABLE texts (execution_id, prompt, output);
INSERT INTO executions
VALUES (1, 'exec_1', '{"scheduling": {}}', 'operator', NULL, '2026-01-31T12:00:00.000Z', 'sha256:0', x'00');
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


def test_no_query_has_numbered_parameters_which_python_3_14_refuses_in_a_sequence() -> None:
    modules = [*(REPOSITORY / "supervisor").rglob("*.py"), *(REPOSITORY / "benchmarks").rglob("*.py")]
    queries = (text for module in modules for text in re.findall(r'"[^"\n]*"', module.read_text(encoding="utf-8")))
    numbered = [text for text in queries if re.search(r"\b(SELECT|WHERE|VALUES|LIMIT)\b.*\?\d", text)]
    assert numbered == []
