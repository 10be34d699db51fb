import pytest

from contracts.api.openapi import OPERATIONS, build_openapi
from contracts.api.problem import PROBLEM_CODES, Problem


@pytest.mark.parametrize("code", sorted(PROBLEM_CODES))
def test_every_code_makes_an_rfc_9457_document(code: str) -> None:
    problem = Problem.of(code, "why")
    assert problem.type == f"urn:weos:problem:{code}"
    assert problem.status == PROBLEM_CODES[code][0]
    assert problem.media_type == "application/problem+json"


def test_every_code_of_an_operation_exists_and_every_code_is_used() -> None:
    routing = {"bad_header", "not_found", "method_not_allowed", "unauthorized", "host_not_allowed", "internal_error"}
    routing |= {"expectation_failed", "not_implemented", "permission_missing", "limit_reached"}
    used = {code for operation in OPERATIONS for code in operation.problems}
    assert used <= set(PROBLEM_CODES)
    assert set(PROBLEM_CODES) - used <= routing


def test_every_operation_is_in_the_document_once() -> None:
    paths = build_openapi()["paths"]
    documented = [item["operationId"] for methods in paths.values() for item in methods.values()]
    assert sorted(documented) == sorted(operation.operation_id for operation in OPERATIONS)
