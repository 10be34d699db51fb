"""The same key and body never execute twice."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from tests.api.harness import EXPERIMENTER_TOKEN, SECOND_EXPERIMENTER_TOKEN, Engine, eventually, problem_of
from tests.event_streams import read_events
from tests.fakes.run_requests import chat_request, spec_request
from tests.fakes.runner_scripts import HeldRunner

KEY = {"Idempotency-Key": "a-key"}
CHAT = "/openai/v1/chat/completions"
EVENTS = {"Accept": "text/event-stream"}


async def test_a_repetition_after_the_end_gets_the_first_execution(engine: Engine) -> None:
    first = await (await engine.post(headers=KEY)).json()
    second = await engine.post(headers=KEY)
    assert second.status == 200
    assert await second.json() == first
    assert len(engine.sandboxes.opened) == 1


async def test_a_repetition_of_a_failure_gets_the_same_failure(engine: Engine) -> None:
    engine.sandboxes.image_id = "sha256:" + "c" * 64
    first = await problem_of(await engine.post(headers=KEY))
    await engine.ended(str(first.execution_id))
    second = await problem_of(await engine.post(headers=KEY))
    assert (second.code, second.execution_id) == (first.code, first.execution_id)
    assert len(engine.sandboxes.opened) == 1


async def test_a_repetition_while_it_runs_waits_for_the_same_execution() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        first = asyncio.create_task(engine.post(headers=KEY))
        await eventually(lambda: bool(engine.sandboxes.opened))
        second = asyncio.create_task(engine.post(headers=KEY))
        third = await engine.post(headers=KEY | {"Prefer": "respond-async"})
        assert third.status == 202
        runner.gate.set()
        views = [await (await task).json() for task in (first, second)]
        assert views[0] == views[1]
        assert views[0]["execution_id"] == (await third.json())["execution_id"]
        assert len(engine.ledger.started) == len(engine.sandboxes.opened) == 1


async def test_ten_at_once_execute_once() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        arrived = 0
        all_there = asyncio.Event()

        async def hold() -> None:
            nonlocal arrived
            arrived += 1
            if arrived == 10:
                all_there.set()
            await all_there.wait()

        engine.sandboxes.before_require_image = hold
        engine.ledger.before_append_started = lambda: asyncio.sleep(0.01)
        posts = [asyncio.create_task(engine.post(headers=KEY)) for _ in range(10)]
        await eventually(lambda: bool(engine.sandboxes.opened))
        runner.gate.set()
        views = [await (await post).json() for post in posts]
        assert len({view["execution_id"] for view in views}) == 1
        assert len(engine.ledger.started) == len(engine.sandboxes.opened) == 1


async def test_an_equal_request_that_finds_the_entry_before_its_execution_has_begun_is_the_same_execution() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        there, told = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            # The ledger's thread has written it; whoever asked for it has not heard so yet.
            there.set()
            await told.wait()

        engine.ledger.after_append_started = hold
        first = asyncio.create_task(engine.post(headers=KEY))
        await there.wait()
        second = asyncio.create_task(engine.post(headers=KEY))
        await eventually(lambda: any(run.watchers for run in engine.book._active.values()))
        told.set()
        runner.gate.set()
        answers = [await each for each in (first, second)]
        assert [answer.status for answer in answers] == [200, 200]
        assert len({(await answer.json())["execution_id"] for answer in answers}) == 1


@pytest.mark.parametrize("running", [True, False])
async def test_the_key_with_another_body_is_refused(running: bool) -> None:
    runner = HeldRunner()
    if not running:
        runner.gate.set()
    async with Engine(runner).serving() as engine:
        execution_id = await engine.start(headers=KEY)
        if not running:
            await engine.ended(execution_id)
        answer = await engine.post(spec_request(prompt="Another prompt"), headers=KEY)
        assert (answer.status, (await problem_of(answer)).code) == (422, "idempotency_key_reused")
        assert len(engine.ledger.started) == 1
        runner.gate.set()
        await engine.ended(execution_id)


async def test_equal_requests_in_other_words_are_equal(engine: Engine) -> None:
    first = await (await engine.post(headers=KEY)).json()
    reordered = dict(reversed(spec_request(nonce=None).items()))
    second = await (await engine.post(reordered, headers=KEY)).json()
    assert second["execution_id"] == first["execution_id"]


async def test_other_keys_and_no_key_execute_anew(engine: Engine) -> None:
    ids = set()
    for headers in ({"Idempotency-Key": "1"}, {"Idempotency-Key": "2"}, None, None):
        ids.add((await (await engine.post(headers=headers)).json())["execution_id"])
    assert len(ids) == 4


@pytest.mark.parametrize("key", ["", " ", "a key", "k" * 129, "clé"])
async def test_a_bad_key_is_refused(engine: Engine, key: str) -> None:
    answer = await engine.post(headers={"Idempotency-Key": key})
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (400, "bad_header")
    assert engine.ledger.started == {}


async def test_two_keys_are_refused(engine: Engine) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await engine.client.post("/v1/runs", json=spec_request(), headers=headers)
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (400, "bad_header")
    assert [error.field for error in problem.errors] == ["Idempotency-Key"]


async def test_a_refused_request_does_not_use_its_key_up(engine: Engine) -> None:
    engine.sandboxes.up = False
    assert (await engine.post(headers=KEY)).status == 503
    engine.sandboxes.up = True
    assert (await engine.post(headers=KEY)).status == 200


async def test_a_caller_that_leaves_does_not_cancel_while_an_equal_one_waits() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        first = asyncio.create_task(engine.post(headers=KEY))
        await eventually(lambda: bool(engine.sandboxes.opened))
        second = asyncio.create_task(engine.post(headers=KEY))
        (run,) = engine.book._active.values()
        await eventually(lambda: run.watchers == 2)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        await eventually(lambda: run.watchers == 1)
        assert run.stop_code is None
        runner.gate.set()
        assert (await second).status == 200


async def test_an_execution_with_a_key_waits_for_its_caller_to_ask_again() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        posts = [asyncio.create_task(engine.post(headers=KEY)) for _ in range(3)]
        await eventually(lambda: bool(engine.book._active))
        (run,) = engine.book._active.values()
        await eventually(lambda: run.watchers == 3)
        for post in posts:
            post.cancel()
        await asyncio.gather(*posts, return_exceptions=True)
        await eventually(lambda: run.watchers == 0)
        assert run.stop_code is None
        again = asyncio.create_task(engine.post(headers=KEY))
        runner.gate.set()
        body = await (await again).json()
        assert (body["execution_id"], body["status"]) == (run.execution_id, "completed")


async def test_a_streaming_repetition_after_the_end_is_a_stream_too(engine: Engine) -> None:
    first = await (await engine.post(headers=KEY)).json()
    answer = await engine.post(headers=KEY | EVENTS)
    assert answer.content_type == "text/event-stream"
    events = await read_events(answer)
    assert [event.name for event in events] == ["started", "done"]
    assert events[-1].document == first | {"rest": first["output"]}


async def test_a_streaming_repetition_of_a_failure_ends_with_its_error(engine: Engine) -> None:
    engine.sandboxes.image_id = "sha256:" + "c" * 64
    first = await problem_of(await engine.post(headers=KEY))
    await engine.ended(str(first.execution_id))
    events = await read_events(await engine.post(headers=KEY | EVENTS))
    assert [event.name for event in events] == ["started", "error"]
    assert events[-1].document["execution_id"] == first.execution_id


async def test_an_end_between_two_looks_is_not_taken_for_a_missing_record(engine: Engine) -> None:
    runner = HeldRunner()
    engine.sandboxes.script = runner
    execution_id = await engine.start(headers=KEY)

    async def end_meanwhile() -> None:
        engine.ledger.after_find_by_key = None
        runner.gate.set()
        await engine.ended(execution_id)

    engine.ledger.after_find_by_key = end_meanwhile
    answer = await engine.post(headers=KEY)
    assert answer.status == 200, await answer.text()
    assert (await answer.json())["execution_id"] == execution_id


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_key_is_its_callers_own(is_running: bool) -> None:
    runner = HeldRunner()
    if not is_running:
        runner.gate.set()
    async with Engine(runner).serving() as engine:
        callers = [{"Authorization": f"Bearer {token}"} for token in (EXPERIMENTER_TOKEN, SECOND_EXPERIMENTER_TOKEN)]
        first = await engine.start(headers=KEY | callers[0])
        if not is_running:
            await engine.ended(first)
        second = await engine.start(headers=KEY | callers[1])
        assert second != first
        again = await engine.start(headers=KEY | callers[0]) if is_running else None
        assert again in {first, None}
        runner.gate.set()
        assert [entry.plan.caller for entry in engine.ledger.started.values()] == ["experimenter", "second"]
        await engine.ended(second)


async def test_the_key_of_another_caller_with_another_body_is_no_conflict(engine: Engine) -> None:
    assert (await engine.post(headers=KEY)).status == 200
    headers = KEY | {"Authorization": f"Bearer {EXPERIMENTER_TOKEN}"}
    assert (await engine.post(spec_request(prompt="Another prompt"), headers=headers)).status == 200


async def test_a_repetition_whose_text_was_erased_is_told_so_and_executes_nothing(engine: Engine) -> None:
    first = await (await engine.post(headers=KEY)).json()
    assert first["output_absent"] is None
    assert await engine.ledger.erase_texts(datetime.now(UTC) + timedelta(days=1)) == 1
    for headers in (KEY, KEY | EVENTS, KEY | {"Prefer": "respond-async"}):
        problem = await problem_of(await engine.post(headers=headers))
        assert (problem.status, problem.code) == (410, "text_erased")
        assert first["record"] in problem.detail
    view = await (await engine.client.get(f"/v1/runs/{first['execution_id']}")).json()
    assert view == first | {"output": None, "output_absent": "erased_by_policy"}
    assert len(engine.sandboxes.opened) == 1


async def test_a_chat_whose_text_was_erased_is_told_so_too(engine: Engine) -> None:
    assert (await engine.client.post(CHAT, json=chat_request(), headers=KEY)).status == 200
    await engine.ledger.erase_texts(datetime.now(UTC) + timedelta(days=1))
    answer = await engine.client.post(CHAT, json=chat_request(), headers=KEY)
    assert answer.status == 410
    assert (await answer.json())["error"]["code"] == "text_erased"
    assert len(engine.sandboxes.opened) == 1


async def test_a_failure_whose_text_was_erased_is_still_that_failure(engine: Engine) -> None:
    engine.sandboxes.image_id = "sha256:" + "c" * 64
    first = await problem_of(await engine.post(headers=KEY))
    await engine.ended(str(first.execution_id))
    await engine.ledger.erase_texts(datetime.now(UTC) + timedelta(days=1))
    assert (await problem_of(await engine.post(headers=KEY))).code == first.code
