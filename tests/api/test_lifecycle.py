"""The beginning and the end of a supervisor: every accepted execution gets exactly one final record."""

import asyncio
import contextlib

import pytest

from supervisor.domain.errors import StorageError
from tests.api.harness import Engine, eventually, problem_of
from tests.event_streams import read_event, read_events
from tests.fakes.runner_scripts import HeldRunner, answering
from tests.fakes.sandboxes import FakeSandbox

EVENTS = {"Accept": "text/event-stream"}


async def left_behind(count: int) -> Engine:
    """An engine whose ledger knows executions that an earlier supervisor did not end."""
    earlier = Engine(HeldRunner())
    earlier.every_execution_has_its_record = False
    async with earlier.serving():
        for _ in range(count):
            await earlier.start()
        await eventually(lambda: bool(earlier.sandboxes.opened))
        unfinished = dict(earlier.ledger.started)
    later = Engine(answering(["ok"]))
    later.ledger.started = unfinished
    return later


async def test_what_an_earlier_supervisor_left_behind_is_recorded_as_aborted() -> None:
    engine = await left_behind(3)
    async with engine.serving():
        assert await engine.book.recover() == 3
        assert engine.sandboxes.reaped == 1
        for execution_id in engine.ledger.started:
            record = await engine.record(execution_id)
            assert record.outcome == "aborted"
            assert (record.metrics, record.output, record.sandbox) == (None, None, None)
            assert (await engine.view(execution_id))["status"] == "aborted"
        await engine.is_well()


async def test_recovering_twice_records_once() -> None:
    engine = await left_behind(2)
    async with engine.serving():
        assert await engine.book.recover() == 2
        assert await engine.book.recover() == 0
        assert len(engine.ledger.final) == 2


async def test_recovery_into_a_full_disk_fails_and_can_be_repeated() -> None:
    engine = await left_behind(2)
    async with engine.serving():
        engine.ledger.full_for_final = True
        with pytest.raises(StorageError):
            await engine.book.recover()
        engine.ledger.full_for_final = False
        assert await engine.book.recover() == 2


async def test_an_aborted_execution_answers_its_key_and_does_not_execute_again() -> None:
    earlier = Engine(HeldRunner())
    async with earlier.serving():
        aborted = await earlier.start(headers={"Idempotency-Key": "k"})
        started = dict(earlier.ledger.started)
    engine = Engine(answering(["ok"]))
    engine.ledger.started = started
    async with engine.serving():
        await engine.book.recover()
        problem = await problem_of(await engine.post(headers={"Idempotency-Key": "k"}))
        assert (problem.code, problem.execution_id) == ("aborted", aborted)
        assert engine.sandboxes.opened == []


async def test_closing_refuses_what_comes_new_and_answers_what_is_known() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        execution_id = await engine.start(headers={"Idempotency-Key": "k"})
        closing = asyncio.create_task(engine.book.close(drain_s=20))
        await asyncio.sleep(0)
        answer = await engine.post()
        assert (answer.status, (await problem_of(answer)).code) == (503, "shutting_down")
        assert "Retry-After" in answer.headers
        repeated = asyncio.create_task(engine.post(headers={"Idempotency-Key": "k"}))
        run = engine.book._active[execution_id]
        await eventually(lambda: run.watchers == 1)
        runner.gate.set()
        await closing
        assert (await (await repeated).json())["execution_id"] == execution_id
        assert (await engine.record(execution_id)).outcome == "completed"


async def test_closing_lets_executions_end_in_the_time_they_have() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        ids = [await engine.start() for _ in range(4)]
        closing = asyncio.create_task(engine.book.close(drain_s=20))
        await asyncio.sleep(0)
        runner.gate.set()
        await closing
        assert [entry.outcome for entry in engine.ledger.final.values()] == ["completed"] * 4
        assert list(engine.ledger.final) == ids


async def test_closing_ends_what_does_not_end_by_itself() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        waiting = asyncio.create_task(engine.post())
        await eventually(lambda: len(engine.ledger.started) == 1)
        stream = await engine.post(headers=EVENTS)
        asynchronous = await engine.start()
        await engine.book.close(drain_s=0.05)
        problem = await problem_of(await waiting)
        assert problem.code == "aborted"
        assert (await read_events(stream))[-1].document["code"] == "aborted"
        assert {entry.outcome for entry in engine.ledger.final.values()} == {"aborted"}
        assert len(engine.ledger.final) == 3
        record = await engine.record(asynchronous)
        assert record.reason is not None
        assert record.reason.code == "aborted"
        await eventually(lambda: engine.free_cpus == 2)


async def test_a_drain_that_is_enough_ends_what_runs_and_what_waits() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        for _ in range(4):
            await engine.start()
        enough = asyncio.Event()
        closing = asyncio.create_task(engine.book.close(drain_s=3600, enough=enough))
        await eventually(lambda: len(engine.sandboxes.opened) == 1)
        assert engine.ledger.final == {}
        enough.set()
        await closing
        assert [entry.outcome for entry in engine.ledger.final.values()] == ["aborted"] * 4
        assert len(engine.sandboxes.destroyed) == len(engine.sandboxes.opened)


async def test_a_request_that_is_being_accepted_while_the_engine_closes_is_not_lost() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        appending, reached = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            reached.set()
            await appending.wait()

        engine.ledger.before_append_started = hold
        post = asyncio.create_task(engine.post())
        await reached.wait()
        closing = asyncio.create_task(engine.book.close(drain_s=0.05))
        await asyncio.sleep(0.01)
        appending.set()
        await closing
        assert set(engine.ledger.final) == set(engine.ledger.started)
        assert len(engine.ledger.final) == 1
        assert (await problem_of(await post)).code == "aborted"


async def test_a_request_that_waits_for_the_engine_while_it_closes_is_refused() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        going, reached = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            reached.set()
            await going.wait()

        engine.sandboxes.before_require_image = hold
        post = asyncio.create_task(engine.post())
        await reached.wait()
        await engine.book.close(drain_s=0.02, clean_up_s=0.02)
        going.set()
        assert (await problem_of(await post)).code == "shutting_down"
        assert engine.ledger.started == {}


async def test_closing_with_a_full_disk_leaves_the_record_to_the_next_supervisor() -> None:
    engine = Engine(answering(["ok"]))
    engine.every_execution_has_its_record = False
    async with engine.serving():
        engine.ledger.full_for_final = True
        await engine.start()
        await eventually(lambda: engine.service.unrecorded == 1)
        await engine.book.close(drain_s=0.02, clean_up_s=0.02)
        assert len(engine.book._tasks) == 0
        assert [stored.outcome for stored in await engine.ledger.unfinished()] == [None]


async def test_a_sandbox_that_cannot_be_destroyed_does_not_hang_the_callers_of_a_closing_engine() -> None:
    engine = Engine(HeldRunner())
    destroyed = asyncio.Event()

    def stubborn(sandbox: FakeSandbox) -> None:
        async def stop() -> None:
            await destroyed.wait()
            await FakeSandbox.stop(sandbox)

        sandbox.stop = stop  # type: ignore[method-assign] # this one container misbehaves

    engine.sandboxes.on_open = stubborn
    async with engine.serving():
        stream = await engine.post(headers=EVENTS)
        assert await read_event(stream) is not None
        await eventually(lambda: bool(engine.sandboxes.opened))
        await engine.book.close(drain_s=0.02, clean_up_s=0.02)
        events = await read_events(stream)
        assert events[-1].document["code"] == "aborted"
        destroyed.set()
        await eventually(lambda: bool(engine.sandboxes.destroyed))


async def test_closing_twice_is_harmless(engine: Engine) -> None:
    await engine.is_well()
    await engine.book.close(drain_s=0.01)
    await engine.book.close(drain_s=0.01)
    with contextlib.suppress(AssertionError):
        await engine.is_well()
    assert len(engine.ledger.started) == 1
