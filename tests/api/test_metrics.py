"""What can be watched from outside."""

from tests.api.harness import Engine, eventually
from tests.api.test_queue import installation_with_queue
from tests.fakes import HeldRunner


async def lines_of(engine: Engine) -> set[str]:
    answer = await engine.client.get("/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4")
    return set((await answer.text()).splitlines())


async def test_leases_waiting_and_refusals_are_shown_as_they_are() -> None:
    runner = HeldRunner()
    async with Engine(runner, installation_with_queue(1)).serving() as engine:
        assert 'weos_cores{state="idle"} 2' in await lines_of(engine)
        running, waiting = await engine.start(), await engine.start()
        assert (await engine.post()).status == 429
        await eventually(lambda: bool(engine.sandboxes.opened))
        seen = await lines_of(engine)
        assert {
            'weos_cores{state="leased"} 2',
            'weos_running{policy="default"} 1',
            'weos_waiting{policy="default"} 1',
            'weos_refused_total{reason="queue_full"} 1',
            'weos_wait_seconds_count{policy="default"} 1',
        } <= seen
        runner.gate.set()
        for execution_id in (running, waiting):
            await engine.ended(execution_id)
        await eventually(lambda: engine.free_cpus == 2)
        seen = await lines_of(engine)
        assert {'weos_cores{state="leased"} 0', 'weos_memory_bytes{state="leased"} 0'} <= seen
        assert 'weos_pool_leases_total{result="miss"} 2' in seen


async def test_metrics_need_a_token_and_hold_none(engine: Engine) -> None:
    answer = await engine.client.get("/metrics", headers={"Authorization": "Bearer wrong"})
    assert answer.status == 401
