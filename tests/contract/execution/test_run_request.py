import json

import pytest

from contracts.execution.run_request import (
    MAX_GRAMMAR_BYTES,
    MAX_PROMPT_BYTES,
    Grammar,
    Message,
    RunRequest,
    Sampling,
    canonical_messages,
)
from contracts.execution.runner_protocol import JobCommand, JobGrammar, encode_command
from contracts.wire.errors import ContractError
from tests.fakes.run_requests import spec_request

# The longest line that the runner reads.
LINE_BYTES_MAX = 1 << 20


def test_the_defaults_are_the_documented_ones() -> None:
    request = RunRequest.parse(b'{"model":"m","prompt":"p","execution":{"backend":"cpu_avx2","quantization":"q4_1"}}')
    execution = request.execution
    assert execution.scheduler_policy == "default"
    assert execution.limits.max_tokens == 256
    assert execution.limits.max_watts is None
    assert execution.sampling.temperature == 0
    assert execution.stop == ()
    assert request.nonce is None


@pytest.mark.parametrize(
    ("prompt", "fits"), [("a" * MAX_PROMPT_BYTES, True), ("é" * (MAX_PROMPT_BYTES // 2 + 1), False)]
)
def test_a_prompt_is_bounded_in_bytes(prompt: str, fits: bool) -> None:
    data = json.dumps(spec_request(prompt=prompt)).encode()
    if fits:
        assert RunRequest.parse(data).prompt == prompt
        return
    with pytest.raises(ContractError) as caught:
        RunRequest.parse(data)
    assert caught.value.errors[0].field == "/prompt"


@pytest.mark.parametrize("temperature", [1e-300, 1e-45, 0.009, -0.1, 2.1])
def test_a_temperature_is_greedy_or_one_that_can_be_computed(temperature: float) -> None:
    request = spec_request()
    request["execution"] = request["execution"] | {"sampling": {"temperature": temperature}}
    with pytest.raises(ContractError) as caught:
        RunRequest.parse(json.dumps(request).encode())
    assert caught.value.errors[0].field == "/execution/sampling/temperature"


def with_execution(**changes: object) -> bytes:
    request = spec_request()
    return json.dumps(request | {"execution": request["execution"] | changes}).encode()


def conversation(*contents: str) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    return json.dumps(
        {name: value for name, value in spec_request(messages=messages).items() if name != "prompt"}
    ).encode()


def test_a_prompt_is_a_conversation_of_one_turn() -> None:
    request = RunRequest.parse(json.dumps(spec_request()).encode())
    assert request.conversation == (Message(role="user", content="Explique inferência eficiente"),)
    assert (request.prompt_form, request.prompt_bytes.decode()) == ("text", "Explique inferência eficiente")


def test_a_conversation_is_named_by_its_canonical_form() -> None:
    request = RunRequest.parse(conversation("é", ""))
    assert request.prompt_form == "messages"
    assert request.prompt_bytes == '[{"content":"é","role":"user"},{"content":"","role":"user"}]'.encode()
    assert request.prompt_bytes == canonical_messages(request.conversation)


@pytest.mark.parametrize(
    ("contents", "fits"),
    [
        (["a" * MAX_PROMPT_BYTES], True),
        (["a" * MAX_PROMPT_BYTES, "a"], False),
        (["x"] * 512, True),
        (["x"] * 513, False),
    ],
)
def test_a_conversation_is_bounded(contents: list[str], fits: bool) -> None:
    if fits:
        assert len(RunRequest.parse(conversation(*contents)).conversation) == len(contents)
        return
    with pytest.raises(ContractError) as caught:
        RunRequest.parse(conversation(*contents))
    assert caught.value.errors[0].field == "/messages"


def test_the_longest_job_fits_one_line_to_the_runner() -> None:
    job = JobCommand(
        prompt=None,
        messages=tuple(Message(role="assistant", content="\x01" * (MAX_PROMPT_BYTES // 512)) for _ in range(512)),
        parse_special=False,
        grammar=JobGrammar(kind="json_schema", text="\x01" * MAX_GRAMMAR_BYTES),
        max_tokens=1,
        seed=0,
        sampling=Sampling(),
        stop=("\x01" * 64,) * 8,
    )
    assert len(encode_command(job)) < LINE_BYTES_MAX


@pytest.mark.parametrize(
    ("changes", "grammar"),
    [
        ({}, None),
        ({"grammar": 'root ::= "a"'}, Grammar("gbnf", 'root ::= "a"')),
        (
            {"json_schema": {"type": "object", "é": [1.0, None]}},
            Grammar("json_schema", '{"type":"object","é":[1.0,null]}'),
        ),
    ],
)
def test_a_grammar_is_text_and_a_schema_keeps_its_order(changes: dict[str, object], grammar: Grammar | None) -> None:
    assert RunRequest.parse(with_execution(**changes)).execution.output_grammar == grammar


@pytest.mark.parametrize(
    "changes",
    [
        {"grammar": "é" * MAX_GRAMMAR_BYTES},
        {"json_schema": {"description": "a" * MAX_GRAMMAR_BYTES}},
        {"grammar": "a", "json_schema": {}},
        {"parse_special": True},
        {"parse_special": False, "prompt_format": "chat"},
    ],
)
def test_contradictions_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ContractError) as caught:
        RunRequest.parse(with_execution(**changes))
    assert caught.value.errors[0].field == "/execution"
