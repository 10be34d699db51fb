"""Requests in OpenAI's shape: what is taken, and how what is not taken is told."""

import json
from typing import Any

import pytest

from contracts.api.openai.chat_request import ChatCompletionRequest
from contracts.api.openai.completion_request import CompletionRequest
from contracts.api.openai.errors import OpenAiError, error_of
from contracts.api.openai.shared_request import SharedRequest
from contracts.wire.errors import ContractError
from supervisor.api.problems import problem_of_parsing
from tests.fakes.run_requests import chat_request, completion_request

JSON_FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
HELLO = {"role": "user", "content": "hello"}


def body_of(kind: type[SharedRequest], changes: dict[str, Any]) -> bytes:
    """The request with these fields; `...` leaves a field out."""
    request = chat_request(**changes) if kind is ChatCompletionRequest else completion_request(**changes)
    return json.dumps({name: value for name, value in request.items() if value is not ...}).encode()


def error_for(kind: type[SharedRequest], changes: dict[str, Any]) -> OpenAiError:
    with pytest.raises(ContractError) as caught:
        kind.parse(body_of(kind, changes))
    return error_of(problem_of_parsing(caught.value)).error


SHARED_HARMLESS: dict[str, list[Any]] = {
    "stream": [False, True, None],
    "n": [1, None],
    "frequency_penalty": [0, 0.0, None],
    "presence_penalty": [0, None],
    "logit_bias": [{}, None],
    "user": ["me", None],
    "stop": ["x", ["x", "y"], [], None],
    "temperature": [0, 0.01, 2, None],
    "top_p": [0, 1, None],
    "seed": [0, 4_294_967_294, None],
}
CHAT_HARMLESS: dict[str, list[Any]] = {
    "metadata": [{"a": "b"}, None],
    "safety_identifier": ["me", None],
    "prompt_cache_key": ["key", None],
    "service_tier": ["auto", "default", None],
    "store": [False, None],
    "modalities": [["text"], None],
    "logprobs": [False, None],
    "tools": [[], None],
    "tool_choice": ["none", None],
    "functions": [[], None],
    "function_call": ["none", None],
    "response_format": [{"type": "text"}, {"type": "json_object"}, JSON_FORMAT, None],
    "messages": [
        [HELLO, {**HELLO, "role": "assistant", "refusal": None, "annotations": [], "audio": None, "tool_calls": []}],
        [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    ],
}
COMPLETION_HARMLESS: dict[str, list[Any]] = {
    "prompt": ["hello", ["hello"]],
    "best_of": [1, None],
    "echo": [False, None],
    "logprobs": [None],
    "suffix": [None],
}


def pairs(fields: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, values in fields.items() for value in values]


@pytest.mark.parametrize(("name", "value"), pairs(SHARED_HARMLESS | CHAT_HARMLESS))
def test_a_chat_takes_what_asks_for_nothing_that_it_cannot_do(name: str, value: Any) -> None:
    ChatCompletionRequest.parse(body_of(ChatCompletionRequest, {name: value}))


@pytest.mark.parametrize(("name", "value"), pairs(SHARED_HARMLESS | COMPLETION_HARMLESS))
def test_a_completion_takes_what_asks_for_nothing_that_it_cannot_do(name: str, value: Any) -> None:
    CompletionRequest.parse(body_of(CompletionRequest, {name: value}))


SHARED_UNSUPPORTED: dict[str, list[Any]] = {
    "n": [2, 0],
    "frequency_penalty": [0.1, -1],
    "presence_penalty": [2],
    "logit_bias": [{"50256": -100}],
}
CHAT_UNSUPPORTED: dict[str, list[Any]] = {
    "audio": [{"voice": "alloy", "format": "wav"}],
    "function_call": ["auto", {"name": "f"}],
    "functions": [[{"name": "f"}]],
    "logprobs": [True],
    "modalities": [["audio"], ["text", "audio"]],
    "moderation": [{}],
    "parallel_tool_calls": [True, False],
    "prediction": [{"type": "content", "content": "x"}],
    "prompt_cache_options": [{}],
    "prompt_cache_retention": ["24h"],
    "reasoning_effort": ["low"],
    "service_tier": ["flex", "priority"],
    "store": [True],
    "tool_choice": ["auto", "required", {"type": "function"}],
    "tools": [[{"type": "function", "function": {"name": "f"}}]],
    "top_logprobs": [5],
    "verbosity": ["low"],
    "web_search_options": [{}],
}
COMPLETION_UNSUPPORTED: dict[str, list[Any]] = {
    "best_of": [2],
    "echo": [True],
    "logprobs": [0, 5],
    "suffix": ["the end"],
}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(ChatCompletionRequest, *pair) for pair in pairs(SHARED_UNSUPPORTED | CHAT_UNSUPPORTED)]
    + [(CompletionRequest, *pair) for pair in pairs(SHARED_UNSUPPORTED | COMPLETION_UNSUPPORTED)],
)
def test_what_cannot_be_honoured_is_refused_and_says_why(kind: type[SharedRequest], name: str, value: Any) -> None:
    error = error_for(kind, {name: value})
    assert (error.type, error.code) == ("invalid_request_error", "unsupported_parameter")
    assert error.param is not None
    assert error.param.partition("[")[0] == name
    assert error.message.startswith(f"the value of `{error.param}` cannot be honoured: ")


def test_every_field_is_tried() -> None:
    tried = set(SHARED_HARMLESS) | set(SHARED_UNSUPPORTED) | {"model", "stream_options", "max_tokens"}
    chat = tried | set(CHAT_HARMLESS) | set(CHAT_UNSUPPORTED) | {"max_completion_tokens"}
    assert chat == set(ChatCompletionRequest.model_fields)
    assert tried | set(COMPLETION_HARMLESS) | set(COMPLETION_UNSUPPORTED) == set(CompletionRequest.model_fields)


def turn(**fields: Any) -> dict[str, Any]:
    return {"messages": [HELLO, {**HELLO, **fields}]}


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        (turn(role="tool"), "messages[1].role", "models call no tools"),
        (turn(role="function"), "messages[1].role", "models call no tools"),
        (turn(name="Ann"), "messages[1].name", "write the name into the content"),
        (turn(tool_calls=[{}]), "messages[1].tool_calls", "models call no tools"),
        (turn(refusal="no"), "messages[1].refusal", "text only"),
        (
            turn(content=[{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "u"}}]),
            "messages[1].content[1].type",
            "neither images nor audio",
        ),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
            "pad",
        ),
    ],
)
def test_what_a_message_or_an_option_cannot_have_is_named(changes: dict[str, Any], param: str, words: str) -> None:
    error = error_for(ChatCompletionRequest, changes)
    assert (error.code, error.param) == ("unsupported_parameter", param)
    assert words in error.message


@pytest.mark.parametrize(
    ("kind", "changes", "code", "param", "words"),
    [
        (ChatCompletionRequest, {"messages": ...}, "missing_required_parameter", "messages", "`messages` is required"),
        (CompletionRequest, {"prompt": ...}, "missing_required_parameter", "prompt", "`prompt` is required"),
        (ChatCompletionRequest, {"top_k": 5}, "unknown_parameter", "top_k", "would have no effect"),
        (ChatCompletionRequest, turn(colour=1), "unknown_parameter", "messages[1].colour", "would have no effect"),
        (ChatCompletionRequest, {"messages": []}, "invalid_value", "messages", "`messages`: "),
        (ChatCompletionRequest, turn(content=None), "invalid_value", "messages[1].content", "valid string"),
        (ChatCompletionRequest, {"stop": ["a", ""]}, "invalid_value", "stop[1]", "at least 1 character"),
        (ChatCompletionRequest, {"stop": 1}, "invalid_value", "stop", "valid string"),
        (ChatCompletionRequest, {"stop": ["x"] * 9}, "invalid_value", "stop", "at most 8"),
        (ChatCompletionRequest, {"temperature": 0.005}, "invalid_value", "temperature", "at least 0.01"),
        (ChatCompletionRequest, {"temperature": 2.1}, "invalid_value", "temperature", "less than or equal to 2"),
        (ChatCompletionRequest, {"seed": -1}, "invalid_value", "seed", "greater than or equal to 0"),
        (ChatCompletionRequest, {"max_tokens": 1}, "invalid_value", None, "`max_completion_tokens` or `max_tokens`"),
        (ChatCompletionRequest, {"stream_options": {}}, "invalid_value", None, "only allowed with `stream`"),
        (
            ChatCompletionRequest,
            {"response_format": {"type": "json_schema"}},
            "invalid_value",
            "response_format",
            "takes `json_schema`",
        ),
        (
            ChatCompletionRequest,
            {"response_format": {**JSON_FORMAT, "type": "text"}},
            "invalid_value",
            "response_format",
            "takes `json_schema`",
        ),
        (CompletionRequest, {"prompt": ["a", "b"]}, "invalid_value", "prompt", "send several requests"),
        (CompletionRequest, {"prompt": [[1, 2]]}, "invalid_value", "prompt[0]", "it takes one text"),
        (CompletionRequest, {"prompt": ""}, "invalid_value", "prompt", "at least 1 character"),
    ],
)
def test_every_other_fault_names_its_field(
    kind: type[SharedRequest], changes: dict[str, Any], code: str, param: str | None, words: str
) -> None:
    error = error_for(kind, changes)
    assert (error.type, error.code, error.param) == ("invalid_request_error", code, param)
    assert words in error.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "a", "model": "b"}', b"\xff"])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(ContractError) as caught:
        ChatCompletionRequest.parse(body)
    error = error_of(problem_of_parsing(caught.value)).error
    assert error.code in {"malformed_json", "invalid_value"}
    assert error.param is None


@pytest.mark.parametrize(
    ("options", "wanted"),
    [(..., False), (None, False), ({}, False), ({"include_usage": None}, False), ({"include_usage": True}, True)],
)
def test_usage_is_streamed_only_where_it_is_asked_for(options: Any, wanted: bool) -> None:
    changes = {"stream": True, "stream_options": options}
    asked = ChatCompletionRequest.parse(body_of(ChatCompletionRequest, changes))
    assert asked.wants_usage is wanted
