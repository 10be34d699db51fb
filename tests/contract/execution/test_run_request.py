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


INTEGERS = ("seed", "context_tokens", "limits.max_tokens", "limits.timeout_s", "sampling.top_k")


def request_with(field: str, spelled: str) -> bytes:
    """A request with one integer of its execution written in a certain way."""
    request = spec_request()
    request["execution"]["sampling"] = {"temperature": 1.0}
    *inner, last = field.split(".")
    holder = request["execution"]
    for name in inner:
        holder = holder[name]
    holder[last] = "HERE"
    return json.dumps(request).replace('"HERE"', spelled).encode()


@pytest.mark.parametrize("field", INTEGERS)
@pytest.mark.parametrize("spelled", ["64.0", "64.000", "6.4e1", "640e-1", "0.64E+2"])
def test_an_integer_of_a_request_may_be_spelled_as_a_float(field: str, spelled: str) -> None:
    asked = RunRequest.parse(request_with(field, spelled))
    plain = RunRequest.parse(request_with(field, "64"))
    assert asked == plain
    assert asked.canonical_digest() == plain.canonical_digest(), "an Idempotency-Key takes them for one request"
    # What the runner is sent is our own encoding.
    assert b"64.0" not in asked.model_dump_json().encode()


@pytest.mark.parametrize("field", INTEGERS)
@pytest.mark.parametrize(
    "spelled",
    ["64.5", "1e400", "-1e400", "9007199254740991.0", "9007199254740993.0", "1e300", "-64.0", "1e-300", '"64.0"'],
)
def test_what_is_no_integer_in_bounds_is_refused_in_every_spelling(field: str, spelled: str) -> None:
    with pytest.raises(ContractError):
        RunRequest.parse(request_with(field, spelled))


def test_a_negative_zero_is_zero() -> None:
    zero = RunRequest.parse(request_with("seed", "0"))
    assert RunRequest.parse(request_with("seed", "-0.0")).model_dump_json() == zero.model_dump_json()
    with pytest.raises(ContractError):
        RunRequest.parse(request_with("limits.max_tokens", "-0.0"))


def test_only_requests_are_read_so() -> None:
    assert Sampling.parse(b'{"temperature":1,"top_k":4}').top_k == 4
    with pytest.raises(ContractError):
        Sampling.parse(b'{"temperature":1,"top_k":4.0}')
    with pytest.raises(ValueError, match="valid integer"):
        Sampling(temperature=1, top_k=4.0)  # type: ignore[arg-type] # that is the test
