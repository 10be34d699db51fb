"""Waiting for cores: callers take turns in a bounded queue, and there are ways out of it."""

import asyncio
from dataclasses import replace

import pytest

from supervisor.domain.planning.installation import Installation
from supervisor.domain.policies.policy import QueuePolicy
from tests.api.harness import EXPERIMENTER_TOKEN, SECOND_EXPERIMENTER_TOKEN, Engine, eventually, problem_of
from tests.fakes.installation import fixed_installation
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner, answering


def installation_with_queue(waiting_max: int, *, per_caller: int = 64, service_s: int = 5) -> Installation:
    fixed = fixed_installation()
    queue = QueuePolicy(
        waiting_max=waiting_max,
        waiting_per_caller_max=per_caller,
        retry_after_max_s=300,
        service_s_unknown=service_s,
    )
    admission = fixed.policies.admission.model_copy(update={"queue": queue})
    return replace(fixed, policies=replace(fixed.policies, admission=admission))


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    runner = HeldRunner()
    async with Engine(runner, installation_with_queue(1, service_s=17)).serving() as engine:
        first = await engine.start()
        second = await engine.start()
        answer = await engine.post()
        assert (answer.status, (await problem_of(answer)).code) == (429, "queue_full")
        # Nothing has ended yet, so the policy says how long the one that runs takes; some of it may be over.
        assert 1 <= int(answer.headers["Retry-After"]) <= 17
        assert set(engine.ledger.started) == {first, second}
        runner.gate.set()
        await engine.ended(second)
        await engine.is_well()


async def test_a_queue_of_none_refuses_whatever_cannot_start_at_once() -> None:
    runner = HeldRunner()
    async with Engine(runner, installation_with_queue(0)).serving() as engine:
        await engine.start()
        assert (await engine.post()).status == 429
        runner.gate.set()


async def test_two_tokens_of_one_role_are_two_callers_that_take_turns() -> None:
    runner = HeldRunner()
    async with Engine(runner, installation_with_queue(8, per_caller=2)).serving() as engine:
        first, second = (
            {"Authorization": f"Bearer {token}"} for token in (EXPERIMENTER_TOKEN, SECOND_EXPERIMENTER_TOKEN)
        )
        running = await engine.start()
        waiting = [await engine.start(headers=first) for _ in range(2)]
        refused = await engine.post(headers=first)
        assert (refused.status, (await problem_of(refused)).code) == (429, "queue_full")
        waiting.insert(1, await engine.start(headers=second))
        positions = [(await engine.view(execution_id))["queue_position"] for execution_id in waiting]
        assert positions == [1, 2, 3]
        runner.gate.set()
        await asyncio.gather(*(engine.ended(execution_id) for execution_id in waiting))
        assert list(engine.ledger.final) == [running, *waiting]


async def test_what_can_never_fit_is_refused_at_once_and_so_is_its_plan() -> None:
    small = fixed_installation(memory_bytes=2**30)
    async with Engine(answering(["x"]), small).serving() as engine:
        for path in ("/v1/runs", "/v1/plans"):
            answer = await engine.client.post(path, json=spec_request())
            problem = await problem_of(answer)
            assert (answer.status, problem.code) == (422, "insufficient_memory")
            assert "can be leased on this machine" in problem.detail
        assert engine.ledger.started == {}


async def test_executions_start_in_the_order_of_their_acceptance() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        accepted = [await engine.start() for _ in range(6)]
        positions = [(await engine.view(execution_id))["queue_position"] for execution_id in accepted]
        assert positions == [None, 1, 2, 3, 4, 5]
        runner.gate.set()
        await asyncio.gather(*(engine.ended(execution_id) for execution_id in accepted))
        assert list(engine.ledger.final) == accepted


async def test_one_execution_at_a_time_where_each_wants_every_core() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        accepted = [await engine.start() for _ in range(3)]
        await eventually(lambda: bool(engine.sandboxes.opened))
        assert len(engine.sandboxes.opened) == 1
        statuses = [(await engine.view(execution_id))["status"] for execution_id in accepted]
        assert statuses == ["running", "queued", "queued"]
        runner.gate.set()
        await engine.ended(accepted[-1])


async def test_cancelling_a_waiting_execution_lets_the_others_move_up() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        first, second, third = [await engine.start() for _ in range(3)]
        answer = await engine.client.delete(f"/v1/runs/{second}")
        assert answer.status == 200
        assert (await answer.json())["status"] == "cancelled"
        assert (await engine.view(third))["queue_position"] == 1
        record = await engine.record(second)
        assert (record.outcome, record.sandbox, record.output) == ("cancelled", None, None)
        runner.gate.set()
        for execution_id in (first, third):
            assert (await engine.record(execution_id)).outcome == "completed"
        assert len(engine.sandboxes.opened) == 2


async def test_cancelling_a_running_execution_destroys_its_sandbox_and_keeps_its_text() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        execution_id = await engine.start()
        await engine.said(execution_id, "first")
        answer = await engine.client.delete(f"/v1/runs/{execution_id}")
        view = await answer.json()
        assert (answer.status, view["status"], view["output"]) == (200, "cancelled", "first")
        assert view["reason"]["code"] == "cancelled"
        await eventually(lambda: engine.sandboxes.destroyed == [view["container_id"]])
        record = await engine.record(execution_id)
        assert record.metrics is not None
        assert record.metrics.tokens_total == 1
        await eventually(lambda: engine.free_cpus == 2)
        await engine.is_well()


@pytest.mark.parametrize("script", ["ok", "failing"])
async def test_an_ended_execution_cannot_be_cancelled(engine: Engine, script: str) -> None:
    if script == "failing":
        engine.sandboxes.image_id = "sha256:" + "c" * 64
    execution_id = await engine.start()
    ended = await engine.ended(execution_id)
    answer = await engine.client.delete(f"/v1/runs/{execution_id}")
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (409, "already_finished")
    assert await engine.view(execution_id) == ended


async def test_an_unknown_execution_cannot_be_cancelled(engine: Engine) -> None:
    answer = await engine.client.delete("/v1/runs/exec_" + "0" * 32)
    assert (answer.status, (await problem_of(answer)).code) == (404, "execution_not_found")


async def test_several_callers_may_cancel_at_once() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        execution_id = await engine.start()
        await engine.said(execution_id, "first")
        path = f"/v1/runs/{execution_id}"
        answers = await asyncio.gather(*(engine.client.delete(path) for _ in range(5)))
        assert 200 in {answer.status for answer in answers}
        assert {answer.status for answer in answers} <= {200, 409}
        assert (await engine.record(execution_id)).outcome == "cancelled"


async def test_cancelling_too_late_says_how_it_ended(engine: Engine) -> None:
    storing = asyncio.Event()
    engine.ledger.before_append_final = storing.wait
    execution_id = await engine.start()
    await eventually(lambda: bool(engine.sandboxes.destroyed))
    run = engine.book._active[execution_id]
    deleting = asyncio.create_task(engine.client.delete(f"/v1/runs/{execution_id}"))
    await eventually(lambda: run.stop_code is not None)
    storing.set()
    answer = await deleting
    assert (answer.status, (await problem_of(answer)).code) == (409, "already_finished")
    assert (await engine.record(execution_id)).outcome == "completed"


async def test_executions_that_need_fewer_cores_run_side_by_side() -> None:
    runner = HeldRunner()
    async with Engine(runner, fixed_installation(cpus=16)).serving() as engine:
        first, second = await engine.start(), await engine.start()
        await eventually(lambda: len(engine.sandboxes.opened) == 2)
        runner.gate.set()
        cpus = []
        for execution_id in (first, second):
            sandbox = (await engine.record(execution_id)).sandbox
            assert sandbox is not None
            cpus.append(set(sandbox.cpus))
        assert cpus[0].isdisjoint(cpus[1])


async def test_many_short_executions_leave_nothing_behind() -> None:
    async with Engine(answering(["a", "b"]), fixed_installation(cpus=16)).serving() as engine:
        answers = await asyncio.gather(*(engine.post() for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert len(engine.ledger.final) == 20
        await eventually(lambda: engine.free_cpus == 16)
        await eventually(lambda: not engine.book._active and not engine.book._tasks and not engine.book._acceptances)


async def test_a_cancelled_execution_says_nothing_about_how_long_executions_take() -> None:
    async with Engine(HeldRunner(), installation_with_queue(0, service_s=17)).serving() as engine:
        cancelled = await engine.start()
        assert (await engine.client.delete(f"/v1/runs/{cancelled}")).status == 200
        await eventually(lambda: engine.free_cpus > 0)
        await engine.start()
        # Not the moment that the cancelled one took.
        assert int((await engine.post()).headers["Retry-After"]) > 1
