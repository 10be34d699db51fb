"""Callers that wait, leave, or do not wait at all."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime

import pytest

from contracts.execution.run_request import RunRequest
from supervisor.domain.records.ports import StartedEntry
from supervisor.domain.scheduling.cores import Demand
from supervisor.execution.run import Run
from supervisor.execution.run_book import make_execution_id
from tests.api.harness import Engine, eventually, problem_of
from tests.api.raw import HEAD
from tests.event_streams import read_event
from tests.fakes.callers import caller_of
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner, answering

EVENTS = {"Accept": "text/event-stream"}
SPEC = json.dumps(spec_request()).encode()
POST = b"POST /v1/runs HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\n"
POST += b"Content-Length: %d\r\n\r\n" % len(SPEC) + SPEC


async def leave(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_waiting_caller_that_leaves_cancels() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        post = asyncio.create_task(engine.post())
        await eventually(lambda: bool(engine.sandboxes.opened))
        (execution_id,) = engine.ledger.started
        await engine.said(execution_id, "first")
        await leave(post)
        record = await engine.record(execution_id)
        assert record.outcome == "cancelled"
        assert record.reason is not None
        assert record.reason.code == "cancelled"
        await eventually(lambda: engine.free_cpus == 2)
        await engine.is_well()


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_connection_that_ends_in_any_way_cancels(how: str) -> None:
    async with Engine(HeldRunner()).serving() as engine:
        _, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
        writer.write(POST)
        await eventually(lambda: bool(engine.sandboxes.opened))
        (execution_id,) = engine.ledger.started
        if how == "close":
            writer.close()
        else:
            writer.transport.abort()
        assert (await engine.record(execution_id)).outcome == "cancelled"
        writer.close()


async def test_a_streaming_caller_that_leaves_cancels() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        answer = await engine.post(headers=EVENTS)
        started = await read_event(answer)
        assert started is not None
        answer.close()
        record = await engine.record(started.document["execution_id"])
        assert record.outcome == "cancelled"
        await engine.is_well()


async def test_a_caller_that_leaves_while_it_waits_for_cores_cancels() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        running = await engine.start()
        post = asyncio.create_task(engine.post())
        await eventually(lambda: len(engine.ledger.started) == 2)
        waiting = list(engine.ledger.started)[1]
        await leave(post)
        record = await engine.record(waiting)
        assert (record.outcome, record.sandbox) == ("cancelled", None)
        runner.gate.set()
        assert (await engine.record(running)).outcome == "completed"


async def test_a_caller_that_leaves_while_it_is_accepted_leaves_a_cancelled_record() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        appending = asyncio.Event()
        reached = asyncio.Event()

        async def hold() -> None:
            reached.set()
            await appending.wait()

        engine.ledger.before_append_started = hold
        _, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
        writer.write(POST)
        await reached.wait()
        (acceptance,) = engine.book._acceptances
        writer.transport.abort()
        await eventually(lambda: not engine.client.server.handler.connections)
        assert not acceptance.done()
        appending.set()
        await eventually(lambda: len(engine.ledger.started) == 1)
        (execution_id,) = engine.ledger.started
        assert (await engine.record(execution_id)).outcome == "cancelled"


async def test_a_caller_that_leaves_before_it_is_accepted_leaves_nothing() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        reached = asyncio.Event()
        going = asyncio.Event()

        async def hold() -> None:
            reached.set()
            await going.wait()

        engine.sandboxes.before_require_image = hold
        engine.sandboxes.up = False
        _, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
        writer.write(POST)
        await reached.wait()
        writer.transport.abort()
        going.set()
        await eventually(lambda: not engine.book._acceptances)
        assert engine.ledger.started == {}


async def test_an_engine_that_hangs_does_not_make_callers_wait_for_each_other() -> None:
    async with Engine(answering(["ok"])).serving() as engine:
        hanging = 0
        going = asyncio.Event()

        async def hold() -> None:
            nonlocal hanging
            hanging += 1
            await going.wait()

        engine.sandboxes.before_require_image = hold
        posts = [asyncio.create_task(engine.post()) for _ in range(5)]
        await eventually(lambda: hanging == 5)
        going.set()
        assert {(await post).status for post in posts} == {200}


@pytest.mark.parametrize(
    "prefer",
    [
        "respond-async",
        "Respond-Async",
        "wait=10, respond-async",
        "respond-async; x=1",
        "a=b,respond-async",
    ],
)
async def test_an_execution_without_a_waiting_caller_goes_on_alone(prefer: str) -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        answer = await engine.post(headers={"Prefer": prefer, "Connection": "close"})
        view = await answer.json()
        assert answer.status == 202
        assert answer.headers["Location"] == f"/v1/runs/{view['execution_id']}"
        assert answer.headers["Preference-Applied"] == "respond-async"
        assert view["status"] in {"queued", "running"}
        assert view["metrics"] is None
        await engine.said(view["execution_id"], "first")
        runner.gate.set()
        ended = await engine.ended(view["execution_id"])
        assert (ended["status"], ended["output"]) == ("completed", "first last")
        assert ended["metrics"]["tokens_total"] == 2


async def test_two_prefer_headers_are_read_as_one(engine: Engine) -> None:
    headers = [("Prefer", "wait=10"), ("Prefer", "respond-async")]
    answer = await engine.client.post("/v1/runs", json=spec_request(), headers=headers)
    assert answer.status == 202
    await engine.ended((await answer.json())["execution_id"])


async def test_another_preference_is_ignored(engine: Engine) -> None:
    assert (await engine.post(headers={"Prefer": "return=minimal"})).status == 200


async def test_an_execution_that_goes_on_alone_ignores_callers_that_come_and_leave() -> None:
    runner = HeldRunner()
    key = {"Idempotency-Key": "k"}
    async with Engine(runner).serving() as engine:
        execution_id = await engine.start(headers=key)
        post = asyncio.create_task(engine.post(headers=key))
        run = engine.book._active[execution_id]
        await eventually(lambda: run.watchers == 1)
        await leave(post)
        await eventually(lambda: run.watchers == 0)
        assert run.stop_code is None
        runner.gate.set()
        assert (await engine.record(execution_id)).outcome == "completed"


async def test_the_record_is_not_there_before_the_end() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        execution_id = await engine.start()
        answer = await engine.client.get(f"/v1/runs/{execution_id}/record")
        assert (answer.status, (await problem_of(answer)).code) == (404, "record_not_ready")
        runner.gate.set()
        await engine.record(execution_id)


@pytest.mark.parametrize("path", ["", "/record"])
async def test_an_unknown_execution_is_not_found(engine: Engine, path: str) -> None:
    answer = await engine.client.get(f"/v1/runs/exec_{'0' * 32}{path}")
    assert (answer.status, (await problem_of(answer)).code) == (404, "execution_not_found")


async def test_an_execution_that_is_stopped_before_it_begins_never_opens_a_sandbox() -> None:
    engine = Engine(answering(["ok"]))
    plan = engine.book.plan(RunRequest.parse(SPEC), caller_of(engine.installation.value.policies.roles, "operator"))
    now = datetime.now(UTC)
    execution_id = make_execution_id(0)

    def seal(seq: int) -> bytes:
        return engine.recorder.seal_started(execution_id, plan, seq=seq, accepted_at=now)

    entry = StartedEntry(execution_id, plan, "prompt", now, None, "sha256:" + "0" * 64, seal)
    run = Run(execution_id, plan, RunRequest.parse(SPEC), now, engine.scheduler.enqueue(Demand(cores=2), "operator"))
    run.seq = await engine.ledger.append_started(entry)
    run.stop("cancelled")
    await engine.service.execute(run)
    assert run.status == "cancelled"
    assert engine.sandboxes.opened == []
    await eventually(lambda: engine.free_cpus == 2)
    assert engine.ledger.final[execution_id].outcome == "cancelled"
