"""What an answer must match: checked, named in the plan, and written out for the runner. Pure."""

from contracts.execution.execution_plan import PlannedGrammar
from contracts.execution.run_request import ExecutionRequest
from contracts.execution.runner_protocol import JobGrammar
from contracts.wire.document import sha256_digest
from supervisor.domain.planning.gbnf import read_grammar
from supervisor.domain.planning.json_schema import express_schema

__all__ = ["plan_grammar", "write_grammar"]


def plan_grammar(execution: ExecutionRequest) -> PlannedGrammar | None:
    """Return how the plan names the grammar or the schema of a request; None: the answer may be anything.

    Raises:
        Refusal: ``grammar_invalid`` or ``json_schema_unsupported``.
    """
    wanted = execution.output_grammar
    if wanted is None:
        return None
    write_grammar(execution)
    text = wanted.text.encode("utf-8")
    return PlannedGrammar(kind=wanted.kind, sha256=sha256_digest(text), size_bytes=len(text))


def write_grammar(execution: ExecutionRequest) -> JobGrammar | None:
    """Return what the runner is given: a grammar as it stands, or a schema rewritten for the runner's converter.

    Raises:
        Refusal: ``grammar_invalid`` or ``json_schema_unsupported``.
    """
    if execution.grammar is not None:
        read_grammar(execution.grammar)
        return JobGrammar(kind="gbnf", text=execution.grammar)
    if execution.json_schema is not None:
        return JobGrammar(kind="json_schema", text=express_schema(execution.json_schema))
    return None
