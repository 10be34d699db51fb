"""What can be watched from outside."""

import re

import pytest

from tests.api.harness import Engine, eventually
from tests.api.test_queue import installation_with_queue
from tests.fakes.runner_scripts import HeldRunner


async def lines_of(engine: Engine) -> set[str]:
    answer = await engine.client.get("/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return set((await answer.text()).splitlines())


async def test_leases_waiting_and_refusals_are_shown_as_they_are() -> None:
    runner = HeldRunner()
    async with Engine(runner, installation_with_queue(1)).serving() as engine:
        assert 'weos_cores{state="idle"} 2.0' in await lines_of(engine)
        running, waiting = await engine.start(), await engine.start()
        assert (await engine.post()).status == 429
        await eventually(lambda: bool(engine.sandboxes.opened))
        seen = await lines_of(engine)
        assert {
            'weos_cores{state="leased"} 2.0',
            'weos_running{policy="default"} 1.0',
            'weos_waiting{policy="default"} 1.0',
            'weos_refused_total{reason="queue_full"} 1.0',
            'weos_wait_seconds_count{policy="default"} 1.0',
        } <= seen
        runner.gate.set()
        for execution_id in (running, waiting):
            await engine.ended(execution_id)
        await eventually(lambda: engine.free_cpus == 2)
        seen = await lines_of(engine)
        assert {'weos_cores{state="leased"} 0.0', 'weos_memory_bytes{state="leased"} 0.0'} <= seen
        assert 'weos_pool_leases_total{result="miss"} 2.0' in seen


async def test_metrics_need_a_token_and_hold_none(engine: Engine) -> None:
    answer = await engine.client.get("/metrics", headers={"Authorization": "Bearer wrong"})
    assert answer.status == 401


async def test_only_the_engines_own_numbers_are_shown(engine: Engine) -> None:
    # The library would add the process's memory and files, its interpreter, and when each number was created.
    await engine.post()
    names = {re.split("[ {]", line)[0] for line in await lines_of(engine) if not line.startswith("#")}
    assert {name for name in names if not name.startswith("weos_") or name.endswith("_created")} == set()
    assert "weos_wait_seconds_bucket" in names


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text; version=1.0.0", "text/plain; version=latest"])
async def test_whatever_a_caller_accepts_it_gets_the_same_text(engine: Engine, accept: str) -> None:
    answer = await engine.client.get("/metrics", headers={"Accept": accept})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# TYPE weos_refused_total counter" in await answer.text()
