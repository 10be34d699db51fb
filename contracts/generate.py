"""Write the JSON Schemas and the OpenAPI document, or check that the committed ones are current.

Usage: ``python -m contracts.generate [--check]``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from contracts.api.openapi import build_openapi
from contracts.api.problem import Problem
from contracts.api.responses import RunView
from contracts.execution.calibration import Calibration
from contracts.execution.escape_report import EscapeReport
from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord, Statement
from contracts.execution.run_request import RunRequest
from contracts.execution.runner_protocol import (
    DoneEvent,
    ErrorEvent,
    JobCommand,
    PromptEvent,
    ReadyEvent,
    SetupCommand,
    TokenEvent,
)
from contracts.execution.started_record import StartedStatement
from contracts.ledger.bundle import Bundle, ConsistencyProof, LedgerEntryView
from contracts.ledger.export import ExportHeader
from contracts.ledger.proof import Leaf
from contracts.ledger.range_proof import RangeProof
from contracts.releases.manifest import EngineManifest, Revocation, RootKeyring
from contracts.releases.reports import ComparisonReport, ValidationReport
from contracts.releases.statements import (
    ComparisonStatement,
    KeyringStatement,
    ManifestStatement,
    RevocationStatement,
    ValidationStatement,
)
from contracts.verify.trust import Trust
from contracts.wire.document import Contract
from contracts.wire.envelope import Envelope

__all__ = ["build_documents", "main"]

DIRECTORY = Path(__file__).resolve().parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PUBLISHED: dict[str, type[Contract]] = {
    "bundle": Bundle,
    "calibration": Calibration,
    "consistency-proof": ConsistencyProof,
    "comparison-report": ComparisonReport,
    "comparison-statement": ComparisonStatement,
    "engine-manifest": EngineManifest,
    "envelope": Envelope,
    "escape-report": EscapeReport,
    "execution-plan": ExecutionPlan,
    "manifest-statement": ManifestStatement,
    "metrics-record": MetricsRecord,
    "problem": Problem,
    "revocation": Revocation,
    "revocation-statement": RevocationStatement,
    "root-keyring": RootKeyring,
    "root-keyring-statement": KeyringStatement,
    "run-request": RunRequest,
    "run-view": RunView,
    "runner-done": DoneEvent,
    "runner-error": ErrorEvent,
    "runner-job": JobCommand,
    "runner-prompt": PromptEvent,
    "runner-ready": ReadyEvent,
    "runner-setup": SetupCommand,
    "runner-token": TokenEvent,
    "ledger-entry": LedgerEntryView,
    "ledger-export": ExportHeader,
    "ledger-leaf": Leaf,
    "range-proof": RangeProof,
    "started-statement": StartedStatement,
    "statement": Statement,
    "trust": Trust,
    "validation-report": ValidationReport,
    "validation-statement": ValidationStatement,
}


def build_documents() -> dict[Path, str]:
    """Return path (relative to `contracts/`) and text of every generated file."""
    documents: dict[Path, Any] = {Path("openapi.json"): build_openapi()}
    for name, model in PUBLISHED.items():
        schema = {"$schema": DIALECT, "$id": f"urn:weos:engine:schema:{name}:1", **model.model_json_schema()}
        documents[Path("schemas") / f"{name}.json"] = schema
    return {
        path: json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        for path, document in documents.items()
    }


def main(arguments: list[str]) -> int:
    """Write the documents, or with ``--check`` compare them; return the exit status."""
    documents = build_documents()
    if arguments != ["--check"]:
        for path, text in documents.items():
            (DIRECTORY / path).parent.mkdir(exist_ok=True)
            (DIRECTORY / path).write_text(text, encoding="utf-8")
        return 0
    present = {path.relative_to(DIRECTORY) for path in (DIRECTORY / "schemas").glob("*.json")}
    stale = [
        path
        for path, text in documents.items()
        if not (DIRECTORY / path).is_file() or (DIRECTORY / path).read_text(encoding="utf-8") != text
    ]
    stale += sorted(present - set(documents))
    for path in stale:
        sys.stderr.write(f"contracts/{path} is out of date; regenerate it with: make schemas\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
