import json
from typing import Any

import pytest

from contracts.runner_protocol import RunnerEvent, parse_event
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.transcript import Transcript
from tests.fakes import READY


def event(**fields: Any) -> RunnerEvent:
    return parse_event(json.dumps(fields).encode())


PROMPT = event(type="prompt", tokens=5)


def token(index: int, text: str = "a") -> RunnerEvent:
    return event(type="token", index=index, token_id=1, text=text)


def done(tokens: int, reason: str = "eos", text: str = "") -> RunnerEvent:
    return event(type="done", finish_reason=reason, tokens=tokens, text=text)


def code_of(transcript: Transcript, *events: RunnerEvent) -> str:
    *before, last = enumerate(events)
    for at_ns, each in before:
        transcript.accept(each, at_ns)
    with pytest.raises(ExecutionFault) as caught:
        transcript.accept(last[1], last[0])
    return caught.value.code


def test_an_honest_runner_is_believed() -> None:
    transcript = Transcript("cpu_avx2", 3)
    transcript.accept_ready(event(**READY))
    events = [PROMPT, token(0, "O"), token(1, ""), done(2, text="lá")]
    texts = [transcript.accept(each, at_ns) for at_ns, each in enumerate(events)]
    assert texts == ["", "O", "", "lá"]
    assert transcript.output == "Olá"
    assert transcript.finished
    assert transcript.window_ns == 2
    measured = transcript.measurements()
    assert (measured.tokens_prompt, measured.prompt_done_ns, measured.token_times_ns) == (5, 0, (1, 2))


def test_nothing_said_is_nothing_measured() -> None:
    transcript = Transcript("cpu_avx2", 3)
    assert transcript.window_ns is None
    assert not transcript.finished
    assert transcript.measurements().tokens_prompt is None


@pytest.mark.parametrize(
    "events",
    [
        [PROMPT, PROMPT],
        [token(0)],
        [done(0)],
        [PROMPT, token(1)],
        [PROMPT, token(0), token(0)],
        [PROMPT, token(0), token(1), token(2)],
        [PROMPT, token(0), done(2)],
        [PROMPT, token(0), done(1, "length")],
        [event(**READY)],
        [event(type="error", code="decode_failed", message="prompt text")],
    ],
    ids=str,
)
def test_events_out_of_order_end_the_execution(events: list[RunnerEvent]) -> None:
    assert code_of(Transcript("cpu_avx2", 2), *events) == "runner_failed"


def test_the_words_of_the_runner_are_not_passed_on() -> None:
    with pytest.raises(ExecutionFault) as caught:
        Transcript("cpu_avx2", 2).accept(event(type="error", code="decode_failed", message="prompt text"), 0)
    assert "prompt text" not in caught.value.detail


@pytest.mark.parametrize("extra", [{"prompt_tokens": 7}, {}])
def test_a_prompt_too_long_is_the_callers_fault(extra: dict[str, int]) -> None:
    error = event(type="error", code="context_overflow", message="", **extra)
    assert code_of(Transcript("cpu_avx2", 2), error) == "context_overflow"


def test_a_prompt_without_tokens_is_the_callers_fault() -> None:
    assert code_of(Transcript("cpu_avx2", 2), event(type="error", code="empty_prompt", message="")) == "empty_prompt"


@pytest.mark.parametrize(
    "first",
    [PROMPT, event(**(READY | {"backend": "cpu_x86_64"})), event(type="error", code="model_load_failed", message="")],
    ids=["another event", "another backend", "an error"],
)
def test_only_ready_of_the_right_backend_opens_the_conversation(first: RunnerEvent) -> None:
    transcript = Transcript("cpu_avx2", 2)
    with pytest.raises(ExecutionFault):
        transcript.accept_ready(first)
    assert transcript.ready is None
