"""Problems of the API as OpenAI's clients are told of them."""

import pytest

from contracts.api.openai.errors import codes_of, error_of, status_of
from contracts.api.openai.operations import OPENAI_OPERATIONS
from contracts.api.problem import PROBLEM_CODES, Problem
from contracts.wire.errors import FieldError


@pytest.mark.parametrize("code", sorted(PROBLEM_CODES))
def test_every_problem_is_an_error_with_a_status_that_openais_api_has(code: str) -> None:
    error = error_of(Problem.of(code, "why")).error
    assert error.message.endswith("why")
    assert error.param is None
    status = status_of(code)
    assert status not in {412, 422}
    assert (error.type == "server_error") == (status >= 500)
    assert error.code in codes_of(code)


@pytest.mark.parametrize(
    ("code", "status", "kind", "told"),
    [
        ("unknown_model", 404, "invalid_request_error", "model_not_found"),
        ("unknown_quantization", 404, "invalid_request_error", "model_not_found"),
        ("unauthorized", 401, "invalid_request_error", "invalid_api_key"),
        ("context_overflow", 400, "invalid_request_error", "context_length_exceeded"),
        ("queue_full", 429, "requests", "rate_limit_exceeded"),
        ("limit_reached", 429, "requests", "rate_limit_exceeded"),
        ("permission_missing", 403, "invalid_request_error", "permission_missing"),
        ("time_limit_exceeded", 400, "invalid_request_error", "time_limit_exceeded"),
        ("body_too_large", 413, "invalid_request_error", "body_too_large"),
        ("cancelled", 409, "invalid_request_error", "cancelled"),
        ("runner_failed", 500, "server_error", "runner_failed"),
        ("shutting_down", 503, "server_error", "shutting_down"),
    ],
)
def test_what_openais_clients_know_has_the_name_that_they_know(code: str, status: int, kind: str, told: str) -> None:
    error = error_of(Problem.of(code, "why")).error
    assert (status_of(code), error.type, error.code) == (status, kind, told)


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ("", None),
        ("Idempotency-Key", "Idempotency-Key"),
        ("/model", "model"),
        ("/execution/quantization", "model"),
        ("/execution/json_schema", "response_format"),
        ("/execution/limits/max_tokens", "max_tokens"),
        ("/messages/3/content", "messages[3].content"),
    ],
)
def test_a_field_has_the_name_that_the_caller_gave(field: str, param: str | None) -> None:
    fault = FieldError(field=field, code="unknown_model", message="why")
    assert error_of(Problem.of("unknown_model", "why", errors=(fault,))).error.param == param


def test_an_unknown_field_keeps_its_signs() -> None:
    fault = FieldError(field="/a~1b~0c", code="extra_forbidden", message="why")
    assert error_of(Problem.of("invalid_request", "why", errors=(fault,))).error.param == "a/b~c"


def test_names_that_exist_are_in_the_message() -> None:
    error = error_of(Problem.of("unknown_model", "no such model", available=("a:q4_1", "b:f16"))).error
    assert error.message == "no such model; there is: a:q4_1, b:f16"


def test_an_operation_lists_no_problem_twice() -> None:
    for operation in OPENAI_OPERATIONS:
        assert len(set(operation.problems)) == len(operation.problems)
        assert operation.path.startswith("/openai/v1/")
