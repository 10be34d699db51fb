"""Problem documents (RFC 9457) of errors."""

from aiohttp import web

from contracts.api.problem import Problem
from contracts.api.responses import RunView
from contracts.execution.run_request import ExecutionRequest
from contracts.wire.errors import ContractError
from supervisor.domain.errors import EngineError, LimitRefusal, PermissionRefusal

__all__ = ["answer_problem", "headers_of", "problem_of", "problem_of_parsing", "problem_of_run"]

RETRY_AFTER_S = 5
MAX_FIELD_CHARACTERS = 256
MAX_DETAIL_CHARACTERS = 4096
_RETRY = frozenset({"engine_unavailable", "shutting_down", "storage_full"})
_EXECUTION_FIELDS = frozenset(ExecutionRequest.model_fields)
_PROBLEMS_OF_PARSING = {
    "malformed_json": "malformed_json",
    "too_large": "body_too_large",
    "out_of_range": "invalid_request",
    "schema_violation": "invalid_request",
}


def answer_problem(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    """Return the response that carries a problem document, with the headers that belong to its code."""
    return web.Response(
        body=problem.model_dump_json(exclude_none=True).encode("utf-8"),
        status=problem.status,
        content_type=problem.media_type,
        headers={**(headers or {}), **headers_of(problem)},
    )


def headers_of(problem: Problem) -> dict[str, str]:
    """Return the headers that belong to a problem's code."""
    if problem.code in _RETRY:
        return {"Retry-After": str(RETRY_AFTER_S)}
    if problem.code == "unauthorized":
        return {"WWW-Authenticate": 'Bearer realm="weos-engine"'}
    if problem.code == "unsupported_media_type":
        # RFC 9110, 15.5.16: what would have been taken.
        return {"Accept": "application/json", "Accept-Encoding": "identity"}
    return {}


def problem_of(error: EngineError, execution_id: str | None = None) -> Problem:
    """Return the problem of an error of the engine."""
    return Problem.of(
        error.code,
        error.detail,
        errors=error.errors,
        available=error.available,
        missing_permission=error.permission if isinstance(error, PermissionRefusal) else None,
        limit=error.limit if isinstance(error, LimitRefusal) else None,
        execution_id=execution_id,
    )


def problem_of_parsing(error: ContractError) -> Problem:
    """Return the problem of a body that is not a Run Request."""
    code = _PROBLEMS_OF_PARSING[error.code]
    hints = []
    for fault in error.errors:
        name = fault.field.removeprefix("/")
        message = fault.message
        if fault.code == "extra_forbidden" and name in _EXECUTION_FIELDS:
            message = f"belongs in the object execution: /execution/{name}"
        # An unknown field's name is the client's own text, of any length.
        field = _shorten(fault.field, MAX_FIELD_CHARACTERS)
        hints.append(fault.model_copy(update={"field": field, "message": message}))
    detail = "; ".join(f"{fault.field or 'the body'}: {fault.message}" for fault in hints)
    return Problem.of(code, _shorten(detail, MAX_DETAIL_CHARACTERS), errors=tuple(hints))


def problem_of_run(view: RunView) -> Problem:
    """Return the problem of an execution that ended without completing."""
    code = view.reason.code if view.reason is not None else "internal_error"
    detail = view.reason.message if view.reason is not None else "the execution did not complete"
    partial = view.model_dump(mode="json")
    return Problem.of(code, detail, execution_id=view.execution_id, partial=partial)


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
