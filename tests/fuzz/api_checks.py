"""Checks of ours beside schemathesis' own; it loads this module by name (`SCHEMATHESIS_HOOKS`)."""

import json
from http import HTTPStatus
from typing import Any

import schemathesis

from tests.api.harness import check_error

# Rules that no schema can say: between two limits, and with what came before.
BEYOND_SCHEMA = {"ledger_range_unknown", "limit_out_of_range", "power_limit_unenforceable", "idempotency_key_reused"}


@schemathesis.check
def errors_are_documented_problems(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """Every error has the shape of its path and a code that the operation lists, and quotes no secret."""
    del ctx
    if response.status_code < HTTPStatus.BAD_REQUEST or response.request.method == "HEAD":
        return
    path = str(response.request.path_url).partition("?")[0]
    # A wrong method of a path that exists is no operation, and so lists nothing.
    method = str(response.request.method) if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED else "NONE"
    media_type = response.headers["content-type"][0].partition(";")[0]
    check_error(method, path, response.status_code, media_type, response.content)


@schemathesis.check
def sound_requests_are_taken(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """What the document allows is refused only for what it has no words for."""
    del ctx
    if (
        case.meta is None
        or not case.meta.generation.mode.is_positive
        or response.status_code not in {400, 412, 415, 422}
    ):
        return
    problem: dict[str, Any] = json.loads(response.content)
    if "error" in problem:
        _check_openai_refusal(problem["error"])
        return
    if problem["code"] in BEYOND_SCHEMA:
        return
    # An integer beyond 2^53 is not taken, and any schema that a request carries may hold one.
    assert {error["code"] for error in problem["errors"]} <= {"out_of_range"}, problem["detail"]


def _check_openai_refusal(error: dict[str, Any]) -> None:
    is_too_large = "larger than 2^53-1" in error["message"]
    assert error["code"] in BEYOND_SCHEMA or (error["code"] == "invalid_value" and is_too_large), error
