"""Off the path of a waiting caller: a sandbox that has done its job ends after the record of it is made."""

import asyncio

import pytest

from supervisor.domain.errors import ExecutionFault
from supervisor.execution import service
from tests.api.harness import Engine, eventually
from tests.fakes.runner_scripts import HeldRunner

FOREVER_S = 1000.0


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may take as long as it likes before the sandbox is ended beside it."""
    monkeypatch.setattr(service, "RECORD_HEAD_START_S", FOREVER_S)


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
