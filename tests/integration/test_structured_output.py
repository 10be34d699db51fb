"""Answers that match a grammar or a schema: from the request through the sandbox to the record."""

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from contracts.verify.bundle import verify_bundle
from contracts.verify.replay import ReplayInput
from contracts.wire.document import sha256_digest
from supervisor.client.engine_client import EngineClient
from supervisor.commands.replay import replay
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api

pytestmark = pytest.mark.docker

PROMPT = "Describe a person in JSON."
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "joined": {"type": "string", "format": "date"},
    },
    "required": ["name", "age"],
}


def asking(**execution: Any) -> dict[str, Any]:
    request = spec_request() | {"prompt": PROMPT}
    request["execution"] |= {"limits": {"max_tokens": 120}} | execution
    return request


async def test_an_answer_is_valid_under_its_schema_however_it_is_sampled(api: Api) -> None:
    for sampling in (
        {"temperature": 0.0, "repeat_penalty": 1.1},
        {"temperature": 1.5},
        {"temperature": 1.0, "top_k": 3},
    ):
        status, body = await api.post_run(asking(json_schema=PERSON, sampling=sampling))
        assert status == 200, body
        assert body["metrics"]["finish_reason"] == "eos"
        jsonschema.validate(json.loads(body["output"]), PERSON)


async def test_the_record_names_the_schema_and_the_execution_can_be_repeated(api: Api) -> None:
    status, body = await api.post_run(asking(json_schema=PERSON))
    assert status == 200, body
    record = verify_bundle(await api.get_bytes(f"/v1/runs/{body['execution_id']}/bundle"), api.trust).record
    assert record is not None
    text = json.dumps(PERSON, separators=(",", ":")).encode()
    planned = record.plan.grammar
    assert planned is not None
    assert (planned.kind, planned.sha256, planned.size_bytes) == ("json_schema", sha256_digest(text), len(text))
    given = ReplayInput(PROMPT.encode(), text)
    verdict = await asyncio.to_thread(replay, EngineClient(api.home), record, given, body["output"])
    assert verdict.code == "REPRODUCED"


async def test_an_answer_matches_its_grammar(api: Api) -> None:
    status, body = await api.post_run(asking(grammar='root ::= "yes" | "no"'))
    assert (status, body["metrics"]["finish_reason"]) == (200, "eos")
    assert body["output"] in {"yes", "no"}


@pytest.mark.parametrize("grammar", ["root ::= <no-such-token>", 'root ::= "a" [^\\x00-\\U0010FFFF]'])
async def test_a_grammar_that_the_model_cannot_follow_ends_the_execution_in_words(api: Api, grammar: str) -> None:
    status, problem = await api.post_run(asking(grammar=grammar))
    assert (status, problem["code"]) == (422, "grammar_invalid")
    assert "llama.cpp cannot follow the grammar" in problem["detail"]
    assert problem["execution_id"]


@pytest.mark.parametrize(
    ("execution", "code"),
    [
        ({"grammar": 'root ::= a root "x" | "y"\na ::= b b\nb ::= "x"?'}, "grammar_invalid"),
        ({"json_schema": {"properties": {"a": {"not": {}}}}}, "json_schema_unsupported"),
    ],
)
async def test_what_cannot_be_enforced_is_refused_before_it_is_accepted(
    api: Api, execution: dict[str, Any], code: str
) -> None:
    status, problem = await api.post_run(asking(**execution))
    assert (status, problem["code"], problem.get("execution_id")) == (422, code, None)


async def test_a_grammar_that_branches_without_end_ends_at_a_limit_of_its_execution(api: Api) -> None:
    branching = 'root ::= a\na ::= "x" a "y" | "x" a "z" | "x" a'
    request = asking(grammar=branching, limits={"max_tokens": 120, "timeout_s": 10})
    status, problem = await api.post_run(request)
    assert status == 422
    assert problem["code"] in {"time_limit_exceeded", "memory_limit_exceeded"}
