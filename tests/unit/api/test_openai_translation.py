"""A request in OpenAI's shape as a Run Request."""

import json
from dataclasses import replace
from typing import Any

import pytest

from contracts.api.openai.chat_request import ChatCompletionRequest
from contracts.api.openai.completion_request import CompletionRequest
from contracts.execution.run_request import MAX_GRAMMAR_BYTES, MAX_PROMPT_BYTES, Message, RunRequest, Sampling
from supervisor.api.openai.translation import translate_chat, translate_completion
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.installation import Installation
from supervisor.domain.planning.planning import plan_execution
from tests.fakes.installation import fixed_installation
from tests.fakes.run_requests import chat_request, completion_request

FIXED = fixed_installation()


def chat(installation: Installation = FIXED, **changes: Any) -> RunRequest:
    body = json.dumps({name: value for name, value in chat_request(**changes).items() if value is not ...})
    return translate_chat(ChatCompletionRequest.parse(body.encode()), installation)


def completion(**changes: Any) -> RunRequest:
    body = json.dumps({name: value for name, value in completion_request(**changes).items() if value is not ...})
    return translate_completion(CompletionRequest.parse(body.encode()), FIXED)


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_a_chat_is_a_run_request_of_its_messages() -> None:
    parts = [{"type": "text", "text": "What "}, {"type": "text", "text": "now?"}]
    request = chat(messages=[turn("developer", "Be brief."), turn("assistant", "Yes."), turn("user", parts)])
    assert request.messages == (
        Message(role="system", content="Be brief."),
        Message(role="assistant", content="Yes."),
        Message(role="user", content="What now?"),
    )
    assert (request.model, request.execution.quantization, request.execution.backend) == (
        "smollm2-135m-instruct",
        "q4_1",
        "cpu_avx2",
    )
    assert plan_execution(request, FIXED).prompt_format == "chat"


def test_a_completion_is_a_run_request_of_its_raw_prompt() -> None:
    request = completion(prompt=["Once upon"])
    assert (request.prompt, request.messages) == ("Once upon", None)
    assert plan_execution(request, FIXED).prompt_format == "raw"


def test_what_is_left_out_is_openais_default_with_a_fixed_seed() -> None:
    for request in (chat(), completion()):
        assert request.execution.sampling == Sampling(temperature=1.0)
        assert request.execution.seed == 0
        assert request.execution.stop == ()
        assert request.execution.json_schema is None
        assert request.execution.limits.timeout_s is None
    assert completion(max_tokens=...).execution.limits.max_tokens == 16


def test_every_honoured_field_reaches_the_run_request() -> None:
    for translate in (chat, completion):
        execution = translate(temperature=0.5, top_p=0.25, seed=7, stop="x").execution
        assert execution.sampling == Sampling(temperature=0.5, top_p=0.25)
        assert (execution.seed, execution.stop) == (7, ("x",))
        assert translate(stop=["a", "b"]).execution.stop == ("a", "b")
        assert translate(stop=[]).execution.stop == ()


@pytest.mark.parametrize("asked", [{"temperature": 0, "top_p": 0.5}, {"temperature": 0}, {"top_p": 0}])
def test_what_can_only_choose_the_most_probable_token_is_greedy(asked: dict[str, Any]) -> None:
    assert chat(**asked).execution.sampling == Sampling()


def test_both_names_of_the_limit_mean_the_same() -> None:
    assert chat(max_completion_tokens=..., max_tokens=9).execution.limits.max_tokens == 9
    assert chat(max_completion_tokens=9).execution.limits.max_tokens == 9


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"b": 1, "a": 2}}},
            {"b": 1, "a": 2},
        ),
    ],
)
def test_a_response_format_is_a_json_schema(response_format: dict[str, Any], schema: dict[str, Any] | None) -> None:
    translated = chat(response_format=response_format).execution.json_schema
    assert translated == schema
    assert schema is None or list(translated or {}) == list(schema)


@pytest.mark.parametrize(
    ("content", "context_tokens", "max_tokens"),
    [("a", None, 2048 - 1 - 16 - 256), ("a" * 1000, 4096, 4096 - 1000 - 16 - 256), ("ã" * 5000, 8192, 256)],
)
def test_an_answer_without_a_limit_has_the_room_that_every_prompt_leaves(
    content: str, context_tokens: int | None, max_tokens: int
) -> None:
    request = chat(max_completion_tokens=..., messages=[turn("user", content)])
    assert (request.execution.context_tokens, request.execution.limits.max_tokens) == (context_tokens, max_tokens)
    plan_execution(request, FIXED)


def test_a_model_with_a_tiny_context_can_be_planned() -> None:
    tiny = replace(FIXED, models=(replace(FIXED.models[0], context_length=8),))
    request = chat(tiny, max_completion_tokens=...)
    assert request.execution.context_tokens is None
    assert plan_execution(request, tiny).limits.max_tokens == 4


@pytest.mark.parametrize(
    ("changes", "field", "most"),
    [
        ({"max_completion_tokens": 8192}, "/max_completion_tokens", 8191),
        ({"max_completion_tokens": ..., "max_tokens": 8192}, "/max_tokens", 8191),
    ],
)
def test_more_tokens_than_the_model_has_room_for_are_refused(changes: dict[str, Any], field: str, most: int) -> None:
    with pytest.raises(Refusal, match=f"at most {most} tokens") as caught:
        chat(**changes)
    assert (caught.value.code, caught.value.errors[0].field) == ("limit_out_of_range", field)
    assert plan_execution(chat(max_completion_tokens=most), FIXED).limits.max_tokens == most


def test_more_tokens_than_the_policy_allows_are_refused() -> None:
    wide = replace(FIXED, models=(replace(FIXED.models[0], context_length=131_072),))
    with pytest.raises(Refusal, match="at most 8192 tokens"):
        chat(wide, max_completion_tokens=8193)
    assert plan_execution(chat(wide, max_completion_tokens=8192), wide).limits.max_tokens == 8192


@pytest.mark.parametrize(
    ("translate", "changes", "field"),
    [
        (chat, {"messages": [turn("user", "ã" * (MAX_PROMPT_BYTES // 2 + 1))]}, "/messages"),
        (completion, {"prompt": "ã" * (MAX_PROMPT_BYTES // 2 + 1)}, "/prompt"),
        (
            chat,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"description": "x" * MAX_GRAMMAR_BYTES}},
                }
            },
            "/execution/json_schema",
        ),
    ],
)
def test_what_is_too_large_is_refused(translate: Any, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal, match="bytes of UTF-8") as caught:
        translate(**changes)
    assert (caught.value.code, caught.value.errors[0].field) == ("invalid_request", field)
