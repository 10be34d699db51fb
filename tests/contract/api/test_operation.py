"""Parameters of the API: what their schemas allow, and the same in words."""

import pytest

from contracts.api.openapi import OPERATIONS
from contracts.api.operation import EXECUTION_ID, Parameter
from contracts.api.run_operations import ACCEPT, IDEMPOTENCY_KEY

NUMBER = Parameter("limit", "query", "", {"type": "integer", "minimum": 1, "maximum": 200})
CHOICE = Parameter("kind", "query", "", {"type": "string", "enum": ["started", "final"]})


@pytest.mark.parametrize(
    ("parameter", "allowed", "refused"),
    [
        (NUMBER, ("1", "200", "007"), ("0", "201", "", "-1", "+1", "1.5", "1e2", "1_0", " 1", "\u0663", "9" * 17)),
        (CHOICE, ("started", "final"), ("", "Final", "final ")),
        (EXECUTION_ID, ("exec_" + "0a" * 16,), ("", "exec_", "exec_" + "0A" * 16, "exec_" + "0a" * 16 + "\n")),
        (IDEMPOTENCY_KEY, ("a", "~" * 128), ("", "a" * 129, "a b", "\u00e9")),
        (ACCEPT, ("", "text/html"), ()),
    ],
)
def test_a_parameter_allows_what_its_schema_allows(
    parameter: Parameter, allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    assert [value for value in allowed if not parameter.allows(value)] == []
    assert [value for value in refused if parameter.allows(value)] == []


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (NUMBER, "a number from 1 to 200"),
        (CHOICE, "`started` or `final`"),
        (EXECUTION_ID, "`exec_` and 32 hexadecimal digits"),
        (ACCEPT, "text"),
    ],
)
def test_a_requirement_is_told_in_words(parameter: Parameter, words: str) -> None:
    assert parameter.requirement() == words


def test_every_pattern_has_words() -> None:
    parameters = [parameter for operation in OPERATIONS for parameter in operation.parameters]
    assert [each.name for each in parameters if "pattern" in each.schema and each.form is None] == []


def test_every_integer_has_bounds_and_is_required_or_has_a_default() -> None:
    parameters = [parameter for operation in OPERATIONS for parameter in operation.parameters]
    for parameter in parameters:
        if parameter.schema["type"] == "integer":
            assert {"minimum", "maximum"} <= set(parameter.schema)
            assert parameter.required or "default" in parameter.schema
