"""Off the path of a waiting caller: an execution begins while it is made durable, and its sandbox ends later."""

import asyncio

import pytest

import supervisor.service
from supervisor.domain.errors import ExecutionFault
from tests.api.harness import Engine, eventually
from tests.fakes import HeldRunner

FOREVER_S = 1000.0


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may take as long as it likes before the sandbox is ended beside it."""
    monkeypatch.setattr(supervisor.service, "RECORD_HEAD_START_S", FOREVER_S)


async def test_a_sandbox_is_got_ready_meanwhile_but_has_no_job_until_the_start_is_durable() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        durable = asyncio.Event()
        engine.ledger.before_append_started = durable.wait
        post = asyncio.create_task(engine.post())
        await eventually(lambda: bool(engine.sandboxes.opened) and engine.sandboxes.opened[0].spread_over is not None)
        for _ in range(20):
            await asyncio.sleep(0)
        sandbox = engine.sandboxes.opened[0]
        assert [b'"type":"job"' in line for line in sandbox.sent] == [False]
        durable.set()
        runner.gate.set()
        assert (await post).status == 200
        assert [b'"type":"job"' in line for line in sandbox.sent] == [False, True]


@pytest.mark.usefixtures("_patient")
async def test_a_sandbox_that_has_done_its_job_is_ended_when_its_record_is_durable(engine: Engine) -> None:
    destroyed_before: list[int] = []

    async def look() -> None:
        await asyncio.sleep(0.01)
        destroyed_before.append(len(engine.sandboxes.destroyed))

    engine.ledger.before_append_final = look
    assert (await engine.post()).status == 200
    assert destroyed_before == [0]
    await eventually(lambda: len(engine.sandboxes.destroyed) == 1)


@pytest.mark.usefixtures("_patient")
async def test_a_sandbox_that_has_not_done_its_job_is_ended_at_once() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        durable = asyncio.Event()
        engine.ledger.before_append_final = durable.wait
        execution_id = await engine.start()
        await engine.said(execution_id, "first")
        engine.sandboxes.opened[0].end(ExecutionFault("runner_failed", "it fell over"))
        await eventually(lambda: len(engine.sandboxes.destroyed) == 1)
        assert engine.ledger.final == {}
        durable.set()
        assert (await engine.record(execution_id)).outcome == "failed"


async def test_cores_are_not_kept_for_a_disk_that_takes_for_ever(engine: Engine) -> None:
    durable = asyncio.Event()
    engine.ledger.before_append_final = durable.wait
    execution_id = await engine.start()
    await eventually(lambda: len(engine.sandboxes.destroyed) == 1 and engine.free_cpus == 2)
    assert engine.ledger.final == {}
    durable.set()
    assert (await engine.record(execution_id)).outcome == "completed"


async def test_a_start_that_fails_before_its_execution_has_begun_leaves_nothing(engine: Engine) -> None:
    engine.ledger.full_for_started = True
    assert (await engine.post()).status == 507
    await eventually(lambda: engine.free_cpus == 2 and not engine.book._tasks)
    assert engine.ledger.final == {}
    assert engine.book._active == {}
    assert len(engine.sandboxes.destroyed) == len(engine.sandboxes.opened)


async def test_a_start_that_fails_while_its_sandbox_waits_for_the_job_leaves_nothing() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        engine.ledger.full_for_started = True
        engine.ledger.before_append_started = lambda: eventually(
            lambda: bool(engine.sandboxes.opened) and engine.sandboxes.opened[0].spread_over is not None
        )
        assert (await engine.post()).status == 507
        await eventually(lambda: engine.free_cpus == 2 and not engine.book._tasks)
        sandbox = engine.sandboxes.opened[0]
        assert [b'"type":"job"' in line for line in sandbox.sent] == [False]
        assert len(engine.sandboxes.destroyed) == 1
        assert engine.ledger.final == {}


@pytest.mark.parametrize("takes_s", [0, 0.05])
async def test_a_start_that_fails_while_it_waits_for_cores_gives_up_its_place(takes_s: float) -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        first = await engine.start()
        engine.ledger.full_for_started = True
        engine.ledger.before_append_started = lambda: asyncio.sleep(takes_s)
        assert (await engine.post()).status == 507
        await eventually(lambda: engine.scheduler.waiting == 0 and len(engine.book._tasks) == 1)
        runner.gate.set()
        assert (await engine.record(first)).outcome == "completed"
