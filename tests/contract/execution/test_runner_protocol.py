import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.execution.run_request import MAX_MESSAGES, Message, Sampling
from contracts.execution.runner_protocol import (
    MAX_EVENT_BYTES,
    ExitCommand,
    JobCommand,
    TokenEvent,
    encode_command,
    parse_event,
)
from contracts.wire.errors import ContractError


@given(st.binary(max_size=300))
def test_hostile_bytes_are_an_event_or_refused(line: bytes) -> None:
    try:
        parse_event(line)
    except ContractError as error:
        assert error.errors  # noqa: PT017 - either way is right


def test_a_refusal_quotes_nothing() -> None:
    with pytest.raises(ContractError) as caught:
        parse_event(b'{"type":"token","index":0,"token_id":1,"text":{"secret":1}}')
    assert "secret" not in str(caught.value)


def test_an_event_longer_than_any_is_not_parsed() -> None:
    line = json.dumps({"type": "token", "index": 0, "token_id": 1, "text": "x" * MAX_EVENT_BYTES}).encode()
    with pytest.raises(ContractError) as caught:
        parse_event(line)
    assert caught.value.code == "too_large"


@given(st.text(max_size=200))
def test_a_command_is_one_ascii_line(prompt: str) -> None:
    job = JobCommand(
        prompt=prompt,
        messages=None,
        parse_special=True,
        grammar=None,
        max_tokens=1,
        seed=0,
        sampling=Sampling(),
        stop=(),
    )
    line = encode_command(job)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert json.loads(line)["prompt"] == prompt


@pytest.mark.parametrize("prompt", [None, "text"])
@pytest.mark.parametrize("turns", [None, 0, 1, MAX_MESSAGES, MAX_MESSAGES + 1])
def test_a_job_has_either_a_prompt_or_messages(prompt: str | None, turns: int | None) -> None:
    messages = None if turns is None else [Message(role="user", content="").model_dump()] * turns
    rest: dict[str, object] = {
        "parse_special": False,
        "grammar": None,
        "max_tokens": 1,
        "seed": 0,
        "sampling": {},
        "stop": [],
    }
    line = json.dumps({"prompt": prompt, "messages": messages, **rest}).encode()
    if (prompt is None) == (messages is None) or turns in {0, MAX_MESSAGES + 1}:
        with pytest.raises(ContractError):
            JobCommand.parse(line)
    else:
        assert len(JobCommand.parse(line).messages or ()) == (turns or 0)


def test_exit_is_spelled_as_the_runner_reads_it() -> None:
    assert encode_command(ExitCommand()) == b'{"type":"exit"}\n'


def test_a_token_event_is_told_by_its_type() -> None:
    event = parse_event(b'{"type":"token","index":0,"token_id":5,"text":"a"}')
    assert event == TokenEvent(type="token", index=0, token_id=5, text="a")
