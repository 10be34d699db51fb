import json
from typing import Any

import pytest

from contracts.execution.execution_plan import PlannedGrammar
from contracts.execution.runner_protocol import RunnerEvent, parse_event
from contracts.wire.document import sha256_digest
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.transcript import Transcript
from tests.factories import make_plan
from tests.fakes.runner_scripts import MODEL, READY


def event(**fields: Any) -> RunnerEvent:
    return parse_event(json.dumps(fields).encode())


PROMPT = event(type="prompt", tokens=5)


def token(index: int, text: str = "a") -> RunnerEvent:
    return event(type="token", index=index, token_id=1, text=text)


def done(tokens: int, reason: str = "eos", text: str = "") -> RunnerEvent:
    return event(type="done", finish_reason=reason, tokens=tokens, text=text)


def error(code: str, **more: int) -> RunnerEvent:
    return event(type="error", code=code, message="prompt text", **more)


def listening(max_tokens: int = 2, stop: tuple[str, ...] = (), grammar: PlannedGrammar | None = None) -> Transcript:
    plan = make_plan()
    limits = plan.limits.model_copy(update={"max_tokens": max_tokens})
    changes = {"limits": limits, "context_tokens": 20, "stop": stop, "grammar": grammar}
    return Transcript(plan.model_copy(update=changes))


def code_of(transcript: Transcript, *events: RunnerEvent) -> str:
    *before, last = enumerate(events)
    for at_ns, each in before:
        transcript.accept(each, at_ns)
    with pytest.raises(ExecutionFault) as caught:
        transcript.accept(last[1], last[0])
    return caught.value.code


def test_events_of_an_honest_runner_are_accepted() -> None:
    transcript = listening(3)
    transcript.accept_ready(event(**READY))
    events = [PROMPT, token(0, "O"), token(1, ""), done(2, text="lá")]
    texts = [transcript.accept(each, at_ns) for at_ns, each in enumerate(events)]
    assert texts == ["", "O", "", "lá"]
    assert transcript.output == "Olá"
    assert transcript.finished
    measured = transcript.measurements()
    assert (measured.tokens_prompt, measured.prompt_done_ns, measured.token_times_ns) == (5, 0, (1, 2))


def test_without_events_nothing_is_measured() -> None:
    transcript = listening(3)
    assert not transcript.finished
    assert transcript.measurements().token_times_ns == ()
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
        [PROMPT, token(0), done(1, "stop")],
        [event(type="prompt", tokens=19)],
        [error("decode_failed")],
        [error("lockdown_failed")],
        [error("model_load_failed")],
        [error("context_failed")],
        [PROMPT, error("context_overflow")],
        [PROMPT, error("empty_prompt")],
        [error("grammar_invalid")],
    ],
    ids=str,
)
def test_events_out_of_order_end_the_execution(events: list[RunnerEvent]) -> None:
    assert code_of(listening(), *events) == "runner_failed"


@pytest.mark.parametrize("code", ["decode_failed", "out_of_memory", "model_load_failed", "context_overflow"])
def test_the_runners_own_message_is_not_passed_on(code: str) -> None:
    with pytest.raises(ExecutionFault) as caught:
        listening().accept(error(code), 0)
    assert "prompt text" not in caught.value.detail


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("model_load_failed", "model_load_failed"),
        ("context_failed", "model_load_failed"),
        ("out_of_memory", "memory_limit_exceeded"),
    ],
)
def test_before_the_job_a_model_that_is_refused_is_named_with_the_runners_words(code: str, reason: str) -> None:
    first = event(type="error", code=code, message="no \u202e\ntensor")
    with pytest.raises(ExecutionFault) as caught:
        listening().accept_ready(first)
    assert caught.value.code == reason
    assert caught.value.detail.endswith(f"'{make_plan().model.name}': no tensor")


def test_memory_that_runs_out_after_the_job_is_told_as_such() -> None:
    assert code_of(listening(), PROMPT, error("out_of_memory")) == "memory_limit_exceeded"


@pytest.mark.parametrize("extra", [{"prompt_tokens": 7}, {}])
def test_a_prompt_too_long_is_the_callers_fault(extra: dict[str, int]) -> None:
    assert code_of(listening(), error("context_overflow", **extra)) == "context_overflow"


def test_a_prompt_without_tokens_is_the_callers_fault() -> None:
    assert code_of(listening(), error("empty_prompt")) == "empty_prompt"


@pytest.mark.parametrize("before", [[], [PROMPT, token(0)]], ids=["before the prompt", "among the tokens"])
def test_a_grammar_that_the_model_cannot_follow_is_the_callers_fault(before: list[RunnerEvent]) -> None:
    grammar = PlannedGrammar(kind="gbnf", sha256=sha256_digest(b"root"), size_bytes=4)
    assert code_of(listening(grammar=grammar), *before, error("grammar_invalid")) == "grammar_invalid"


def test_a_prompt_that_just_fits_and_a_requested_stop_are_accepted() -> None:
    transcript = listening(stop=("end",))
    for at_ns, each in enumerate([event(type="prompt", tokens=18), token(0), done(1, "stop")]):
        transcript.accept(each, at_ns)
    assert transcript.finished


@pytest.mark.parametrize(
    "first",
    [
        PROMPT,
        event(**(READY | {"backend": "cpu_x86_64"})),
        event(**(READY | {"model": MODEL | {"architecture": "gpt2"}})),
        event(**(READY | {"model": MODEL | {"has_chat_template": False}})),
        error("decode_failed"),
        error("context_overflow"),
        error("empty_prompt"),
    ],
    ids=[
        "another event",
        "another backend",
        "another model",
        "another template",
        "an error",
        "too long a prompt",
        "no prompt",
    ],
)
def test_the_first_event_must_be_ready_with_the_right_backend_and_model(first: RunnerEvent) -> None:
    transcript = listening()
    with pytest.raises(ExecutionFault) as caught:
        transcript.accept_ready(first)
    assert caught.value.code == "runner_failed"
    assert transcript.ready is None


def test_an_event_after_the_time_limit_does_not_count() -> None:
    transcript = listening()
    limit_ns = make_plan().limits.timeout_s * 1_000_000_000
    transcript.accept(PROMPT, 0)
    transcript.accept(token(0), limit_ns)
    with pytest.raises(ExecutionFault) as caught:
        transcript.accept(token(1), limit_ns + 1)
    assert caught.value.code == "time_limit_exceeded"
    assert transcript.measurements().token_times_ns == (limit_ns,)
