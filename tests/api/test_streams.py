"""Executions as server-sent events."""

import asyncio
from typing import Any

import pytest

from supervisor.client.event_stream import parse_events
from tests.api.harness import PATIENCE_S, Engine, check_problem, eventually
from tests.event_streams import read_event, read_events
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner, answering, saying
from tests.fakes.sandboxes import FakeSandbox

EVENTS = {"Accept": "text/event-stream"}


async def test_a_stream_starts_tells_every_token_and_ends_with_the_metrics(engine: Engine) -> None:
    answer = await engine.post(headers=EVENTS)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    events = await read_events(answer)
    assert [event.name for event in events] == ["started", "token", "token", "token", "done"]
    assert [event.document["index"] for event in events[1:-1]] == [0, 1, 2]
    assert "".join(event.document["text"] for event in events[1:-1]) == "Olá, mundo"
    done = events[-1].document
    assert events[0].document == {name: done[name] for name in ("execution_id", "plan_digest")}
    assert done == await engine.view(done["execution_id"]) | {"rest": ""}
    assert (await engine.record(done["execution_id"])).outcome == "completed"


async def test_text_held_back_to_the_end_is_streamed_too(engine: Engine) -> None:
    done = {"type": "done", "finish_reason": "eos", "tokens": 1, "text": "held"}
    token = {"type": "token", "index": 0, "token_id": 1, "text": ""}
    engine.sandboxes.script = saying({"type": "prompt", "tokens": 1}, token, done)
    events = await read_events(await engine.post(headers=EVENTS))
    assert [event.document.get("text") for event in events[1:-1]] == [""]
    assert (events[-1].document["rest"], events[-1].document["output"]) == ("held", "held")
    assert events[-1].document["metrics"]["tokens_total"] == 1


async def test_no_character_at_which_clients_break_lines_is_in_a_stream(engine: Engine) -> None:
    text = "a\u2028b\u2029c\x85d"
    engine.sandboxes.script = answering([text])
    stream = await (await engine.post(headers=EVENTS)).text()
    # As a client reads it that takes them for ends of lines.
    events = list(parse_events(line.encode() for line in stream.splitlines()))
    assert [event.document["text"] for event in events if event.name == "token"] == [text]


@pytest.mark.parametrize("text", ["\n\n", "\r\nevent: done\r\ndata: {}", "\u2028\x85", "\x00", "\U0001f980", "data: x"])
async def test_no_text_can_pass_for_an_event(engine: Engine, text: str) -> None:
    engine.sandboxes.script = answering([text, "end"])
    events = await read_events(await engine.post(headers=EVENTS))
    assert [event.name for event in events] == ["started", "token", "token", "done"]
    assert events[1].document["text"] == text


async def test_a_token_is_sent_when_it_comes_not_at_the_end() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        answer = await engine.post(headers=EVENTS)
        assert [(await read_event(answer)).name for _ in range(2)] == ["started", "token"]  # type: ignore[union-attr] # the test fails then
        runner.gate.set()
        assert [event.name for event in await read_events(answer)] == ["token", "done"]


async def test_a_failure_is_the_last_event_and_a_problem(engine: Engine) -> None:
    engine.sandboxes.script = saying({"type": "prompt", "tokens": 1}, b"garbage")
    events = await read_events(await engine.post(headers=EVENTS))
    assert [event.name for event in events] == ["started", "error"]
    problem = events[-1].document
    assert (problem["code"], problem["status"]) == ("runner_failed", 500)
    assert problem["execution_id"] == events[0].document["execution_id"]
    assert (await engine.record(problem["execution_id"])).outcome == "failed"


async def test_a_cancelled_stream_ends_with_the_reason() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        answer = await engine.post(headers=EVENTS)
        started = await read_event(answer)
        assert started is not None
        assert (await engine.client.delete(f"/v1/runs/{started.document['execution_id']}")).status == 200
        events = await read_events(answer)
        assert (events[-1].name, events[-1].document["code"]) == ("error", "cancelled")


async def test_a_refusal_is_a_problem_not_a_stream(engine: Engine) -> None:
    engine.sandboxes.up = False
    answer = await engine.post(headers=EVENTS)
    check_problem("POST", "/v1/runs", answer.status, answer.content_type, await answer.read())


@pytest.mark.parametrize(
    "accept", ["text/event-stream, */*", "Text/Event-Stream", "text/html, text/event-stream;q=0.9"]
)
async def test_the_accept_header_may_name_more(engine: Engine, accept: str) -> None:
    answer = await engine.post(headers={"Accept": accept})
    assert answer.content_type == "text/event-stream"
    assert (await read_events(answer))[-1].name == "done"


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "text/event-streams", "text/html", "text/event-stream;q=0, application/json"]
)
async def test_other_accept_headers_get_json(engine: Engine, accept: str) -> None:
    assert (await engine.post(headers={"Accept": accept})).content_type == "application/json"


async def test_a_stream_with_nothing_to_say_is_kept_alive() -> None:
    runner = HeldRunner()
    engine = Engine(runner)
    engine.keep_alive_s = 0.01
    async with engine.serving():
        answer = await engine.post(headers=EVENTS)
        beats = 0
        async with asyncio.timeout(PATIENCE_S):
            while beats < 3:
                beats += (await answer.content.readline()).startswith(b":")
        runner.gate.set()
        events = await read_events(answer)
        assert events[-1].name == "done"


async def test_a_reader_that_does_not_read_does_not_hold_up_the_execution() -> None:
    text = "x" * 4000
    tokens = 2000

    async def talkative(sandbox: FakeSandbox, line_index: int) -> None:
        await answering([text] * tokens, finish_reason="length")(sandbox, line_index)

    async with Engine(talkative).serving() as engine:
        request = {"max_tokens": tokens, "max_watts": 25}
        answer = await engine.post(_with_limits(request), headers=EVENTS)
        started = await read_event(answer)
        assert started is not None
        execution_id = started.document["execution_id"]
        # Beside the record: that much text fills every buffer, and is more than a real stream's budget lets through.
        view = await engine.ended(execution_id)
        assert view["status"] == "completed"
        assert view["metrics"]["tokens_total"] == tokens
        names = [event.name for event in parse_events((await answer.read()).splitlines())]
        assert names == [*["token"] * tokens, "done"], "and it can still read all of it"


def _with_limits(limits: dict[str, int]) -> dict[str, Any]:
    request = spec_request()
    request["execution"]["limits"] = limits
    request["execution"]["context_tokens"] = 4096
    return request


async def test_a_reader_that_never_reads_and_leaves_harms_nobody() -> None:
    async with Engine(answering(["x" * 4000] * 8, finish_reason="length")).serving() as engine:
        answers = [await engine.post(headers=EVENTS) for _ in range(5)]
        for answer in answers:
            answer.close()
        await eventually(lambda: not engine.book._active)
        await engine.is_well()


async def test_equal_callers_see_the_same_stream() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        headers = EVENTS | {"Idempotency-Key": "k"}
        first = await engine.post(headers=headers)
        await read_event(first)
        await read_event(first)
        second = await engine.post(headers=headers)
        runner.gate.set()
        late = await read_events(second)
        assert [event.name for event in late] == ["started", "token", "token", "done"]
        assert (await read_events(first))[-1] == late[-1]
