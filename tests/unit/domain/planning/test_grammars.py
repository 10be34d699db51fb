import json
from typing import Any

import pytest

from contracts.execution.run_request import RunRequest
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.grammars import plan_grammar, write_grammar
from tests.fakes.run_requests import spec_request


def execution(**changes: Any) -> Any:
    request = spec_request()
    request["execution"] |= changes
    return RunRequest.parse(json.dumps(request).encode()).execution


def test_without_a_grammar_the_answer_may_be_anything() -> None:
    assert plan_grammar(execution()) is None
    assert write_grammar(execution()) is None


def test_a_grammar_goes_to_the_runner_as_it_stands() -> None:
    wanted = execution(grammar='root ::= "é"')
    planned, written = plan_grammar(wanted), write_grammar(wanted)
    assert planned is not None
    assert written is not None
    assert (planned.kind, planned.size_bytes) == ("gbnf", 13)
    assert (written.kind, written.text) == ("gbnf", 'root ::= "é"')


def test_the_plan_names_the_schema_of_the_caller_and_the_runner_gets_it_rewritten() -> None:
    wanted = execution(json_schema={"type": "string"})
    planned, written = plan_grammar(wanted), write_grammar(wanted)
    assert planned is not None
    assert written is not None
    assert (planned.kind, planned.size_bytes) == ("json_schema", len('{"type":"string"}'))
    assert "$defs" in json.loads(written.text)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"grammar": "root"}, "grammar_invalid"), ({"json_schema": {"not": {}}}, "json_schema_unsupported")],
)
def test_what_cannot_be_enforced_is_refused_before_it_is_accepted(changes: dict[str, Any], code: str) -> None:
    for function in (plan_grammar, write_grammar):
        with pytest.raises(Refusal) as caught:
            function(execution(**changes))
        assert caught.value.code == code
