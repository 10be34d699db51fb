import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events import ModelInfo, done_event, error_event, prompt_event, ready_event, token_event
from runner.protocol import (
    Grammar,
    Job,
    Message,
    RunnerError,
    Sampling,
    Setup,
    is_exit,
    parse_job,
    parse_setup,
)

SETUP: dict[str, Any] = {
    "type": "setup",
    "protocol": 1,
    "model_path": "/model/model.gguf",
    "context_tokens": 512,
    "threads": 2,
    "batch_tokens": 256,
    "repack": True,
}
SAMPLING: dict[str, Any] = {
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
}
JOB: dict[str, Any] = {
    "type": "job",
    "prompt": "a secret \u20ac",
    "messages": None,
    "parse_special": True,
    "grammar": None,
    "max_tokens": 4,
    "seed": 7,
    "sampling": SAMPLING,
    "stop": ["\n"],
}


CHAT = [{"role": "user", "content": "a secret"}]


def line(document: object) -> bytes:
    return json.dumps(document).encode()


def refusal(parse: Any, data: bytes) -> str:
    with pytest.raises(RunnerError) as caught:
        parse(data)
    assert caught.value.code == "protocol_error"
    assert "secret" not in caught.value.message
    return caught.value.message


def test_a_setup_line_is_read_field_by_field() -> None:
    assert parse_setup(line(SETUP)) == Setup("/model/model.gguf", 512, 2, 256, repack=True)


def test_a_job_line_is_read_field_by_field() -> None:
    sampling = Sampling(0.0, 0, 1.0, 0.0, 1.0)
    expected = Job(
        "a secret \u20ac", None, parse_special=True, grammar=None, max_tokens=4, seed=7, sampling=sampling, stop=("\n",)
    )
    assert parse_job(line(JOB)) == expected
    assert parse_job(json.dumps(JOB, ensure_ascii=False).encode()) == expected


def test_messages_and_a_grammar_are_read_field_by_field() -> None:
    grammar = {"kind": "json_schema", "text": "{}"}
    job = parse_job(line(JOB | {"prompt": None, "messages": CHAT, "parse_special": False, "grammar": grammar}))
    assert (job.prompt, job.messages) == (None, (Message("user", "a secret"),))
    assert (job.parse_special, job.grammar) == (False, Grammar("json_schema", "{}"))


def test_a_whole_number_is_taken_where_a_fraction_may_stand() -> None:
    assert parse_job(line(JOB | {"sampling": SAMPLING | {"temperature": 1}})).sampling.temperature == 1.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"protocol": 2}, "protocol 1"),
        ({"type": "job"}, "type setup"),
        ({"model_path": "model.gguf"}, "absolute"),
        ({"model_path": "/a\0b"}, "absolute"),
        ({"model_path": "/" + "a" * 5000}, "longer"),
        ({"model_path": 1}, "model_path"),
        ({"context_tokens": 0}, "context_tokens"),
        ({"context_tokens": 512.0}, "context_tokens"),
        ({"context_tokens": 1 << 21}, "context_tokens"),
        ({"threads": True}, "threads"),
        ({"threads": 513}, "threads"),
        ({"batch_tokens": "1"}, "batch_tokens"),
        ({"repack": 1}, "repack"),
        ({"extra": 1}, "1 unknown"),
    ],
)
def test_a_setup_field_out_of_bounds_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    assert named in refusal(parse_setup, line(SETUP | change))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": "secret \ud800"}, "surrogate"),
        ({"messages": CHAT}, "both"),
        ({"prompt": None, "messages": "secret"}, "messages"),
        ({"prompt": None, "messages": []}, "messages"),
        ({"prompt": None, "messages": CHAT * 1025}, "messages"),
        ({"prompt": None, "messages": ["secret"]}, "messages"),
        ({"prompt": None, "messages": [{"role": "secret", "content": ""}]}, "role"),
        ({"prompt": None, "messages": [CHAT[0] | {"secret": 1}]}, "unknown"),
        ({"prompt": None, "messages": [{"role": "user"}]}, "content"),
        ({"parse_special": 1}, "parse_special"),
        ({"grammar": "secret"}, "grammar"),
        ({"grammar": {"kind": "secret", "text": ""}}, "kind"),
        ({"grammar": {"kind": "gbnf", "text": 1}}, "text"),
        ({"grammar": {"kind": "gbnf", "text": "", "secret": 1}}, "unknown"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32 - 1}, "seed"),
        ({"stop": "secret"}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["secret" * 200]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"sampling": []}, "sampling"),
        ({"sampling": SAMPLING | {"secret": 1}}, "unknown"),
        ({"sampling": SAMPLING | {"temperature": -0.1}}, "temperature"),
        ({"sampling": SAMPLING | {"temperature": True}}, "temperature"),
        ({"sampling": SAMPLING | {"top_k": -1}}, "top_k"),
        ({"sampling": SAMPLING | {"top_p": 1.1}}, "top_p"),
        ({"sampling": SAMPLING | {"min_p": "0"}}, "min_p"),
        ({"sampling": SAMPLING | {"repeat_penalty": 0}}, "repeat_penalty"),
    ],
)
def test_a_job_field_out_of_bounds_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    assert named in refusal(parse_job, line(JOB | change))


@pytest.mark.parametrize("name", sorted(JOB))
def test_a_job_without_one_of_its_fields_is_refused(name: str) -> None:
    assert name in refusal(parse_job, line({key: value for key, value in JOB.items() if key != name}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"secret",
        b"[]",
        b"null",
        b"\xff",
        b'{"type": "job", "type": "job"}',
        b'{"type": NaN}',
        b'{"type": Infinity}',
        b"[" * 100_000,
        b'{"type": ' + b"1" * 5000 + b"}",
    ],
)
def test_what_is_no_strict_json_object_is_refused(data: bytes) -> None:
    refusal(parse_job, data)


def test_an_infinite_number_is_refused_however_it_is_written() -> None:
    data = line(JOB).replace(b'"temperature": 0.0', b'"temperature": 1e999')
    assert "temperature" in refusal(parse_job, data)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_and_nothing_else_is_raised(data: bytes) -> None:
    refusal(parse_setup, data)


def test_only_the_bare_exit_line_is_one() -> None:
    assert is_exit(b'{"type":"exit"}')
    assert not is_exit(b'{"type":"exit","now":true}')
    assert not is_exit(b'{"type":"job"}')
    assert not is_exit(b"exit")


def test_events_have_the_published_fields() -> None:
    model = ModelInfo("llama", 8192, "llama 256M", has_chat_template=True)
    assert ready_event("cpu_avx2", "0.3.36", ["AVX2"], model, "sha256:abc") == {
        "type": "ready",
        "protocol": 1,
        "backend": "cpu_avx2",
        "cpu_features": ["AVX2"],
        "llama_cpp_version": "0.3.36",
        "model": {
            "architecture": "llama",
            "context_length": 8192,
            "description": "llama 256M",
            "has_chat_template": True,
        },
        "lockdown_policy": "sha256:abc",
    }
    assert prompt_event(3) == {"type": "prompt", "tokens": 3}
    assert token_event(0, 9, "x") == {"type": "token", "index": 0, "token_id": 9, "text": "x"}
    assert done_event("eos", 1, "") == {"type": "done", "finish_reason": "eos", "tokens": 1, "text": ""}
    assert error_event(RunnerError("c", "m")) == {"type": "error", "code": "c", "message": "m"}
    assert error_event(RunnerError("c", "m", prompt_tokens=0))["prompt_tokens"] == 0
