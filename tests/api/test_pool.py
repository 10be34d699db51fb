"""Sandboxes made ahead, over fakes: used once, held to the policy, and never a reason to lose an execution."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from operator import contains
from typing import Any
from unittest.mock import ANY

import pytest

from supervisor.domain.errors import ExecutionFault, Refusal
from supervisor.domain.planning.installation import Backend, Installation
from supervisor.domain.sandbox.ports import ExitStatus
from tests.api.harness import Engine, eventually, problem_of
from tests.fakes.installation import fixed_installation
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner, answering
from tests.fakes.sandbox_facts import thread_under
from tests.fakes.sandboxes import FakeSandbox, Script

POLICY = fixed_installation().policies.pool.model_copy(
    update={"keep": (), "recent_size": 1, "recent_recipes": 2, "tend_every_s": 1}
)
OTHER = spec_request()
OTHER["execution"] = OTHER["execution"] | {"context_tokens": 512}


@asynccontextmanager
async def pooling(script: Script, installation: Installation | None = None, **changes: Any) -> AsyncIterator[Engine]:
    policy = POLICY.model_copy(update=changes)
    installation = installation or fixed_installation()
    installation = replace(installation, policies=replace(installation.policies, pool=policy))
    engine = Engine(script, installation, pool=policy)
    async with engine.serving():
        yield engine
    assert engine.pool.facts().ready == engine.pool.facts().being_made == 0


def is_ready(engine: Engine, count: int = 1) -> Callable[[], bool]:
    return lambda: engine.pool.facts().ready == count


async def start_of(engine: Engine, request: dict[str, Any] | None = None) -> tuple[str, int | None, str]:
    answer = await engine.post(request)
    assert answer.status == 200, await answer.text()
    record = await engine.record((await answer.json())["execution_id"])
    assert record.sandbox is not None
    return record.sandbox.start, record.sandbox.age_ms, record.sandbox.container_id


async def test_the_first_starts_cold_and_the_next_warm_each_in_its_own_container() -> None:
    async with pooling(answering(["a", "b"])) as engine:
        starts = [await start_of(engine)]
        for _ in range(3):
            await eventually(is_ready(engine))
            starts.append(await start_of(engine))
        assert [start for start, _, _ in starts] == ["cold", "warm", "warm", "warm"]
        assert starts[0][1] == 0
        assert all((age_ms or 0) > 0 for _, age_ms, _ in starts[1:])
        assert len({container_id for _, _, container_id in starts}) == 4
        facts = engine.pool.facts()
        assert (facts.hits, facts.misses) == (3, 1)


async def test_nothing_of_a_request_is_in_a_sandbox_before_its_lease() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        waiting = engine.sandboxes.opened[-1]
        assert [line.count(b"prompt") for line in waiting.sent] == [0]
        assert waiting.container_id not in engine.sandboxes.destroyed


async def test_a_lease_places_it_on_the_executions_cpus_with_its_output_limit() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        waiting = engine.sandboxes.opened[-1]
        assert [in_background for _, in_background in waiting.placed] == [True]
        assert (await start_of(engine))[2] == waiting.container_id
        assert waiting.placed[-1] == (frozenset({0, 1}), False)
        assert waiting.spread_over == ((0,), (1,))
        assert (
            waiting.allowed_bytes
            == engine.ledger.started[next(reversed(engine.ledger.started))].plan.limits.output_bytes
        )


async def test_a_request_for_another_recipe_does_not_get_it() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        assert (await start_of(engine, OTHER))[0] == "cold"
        await eventually(is_ready(engine, 2))
        assert {(await start_of(engine))[0], (await start_of(engine, OTHER))[0]} == {"warm"}


async def test_what_is_declared_is_ready_without_having_been_asked_for() -> None:
    fixed = fixed_installation()
    model = fixed.models[0]
    kept = fixed.policies.pool.keep[0].model_copy(update={"model": model.name, "quantization": model.quantization})
    async with pooling(answering(["a"]), keep=(kept,)) as engine:
        await eventually(is_ready(engine))
        assert (await start_of(engine))[0] == "warm"


async def test_one_that_is_too_old_is_ended_and_made_anew() -> None:
    async with pooling(answering(["a"]), max_age_s=1) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        old = engine.sandboxes.opened[-1].container_id
        await eventually(lambda: old in engine.sandboxes.destroyed)
        await eventually(is_ready(engine))
        assert engine.pool.facts().dropped["age"] >= 1
        assert (await start_of(engine))[2] != old


async def test_one_that_ends_or_says_something_unasked_is_never_used() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        ends: tuple[Callable[[FakeSandbox], None], ...] = (
            lambda sandbox: sandbox.end(ExecutionFault("runner_failed", "it ended"), ExitStatus(1, oom_killed=False)),
            lambda sandbox: sandbox.say(b"{}"),
        )
        for end in ends:
            await eventually(is_ready(engine))
            waiting = engine.sandboxes.opened[-1]
            end(waiting)
            assert (await start_of(engine))[2] != waiting.container_id
            await eventually(partial(contains, engine.sandboxes.destroyed, waiting.container_id))
        assert engine.pool.facts().dropped["unhealthy"] == 2


async def test_one_whose_model_changed_while_it_waited_gets_no_job() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        waiting = engine.sandboxes.opened[-1]
        # The file is written to after the execution was accepted.
        engine.models.change()
        engine.models.later_fault = Refusal("model_altered", "the file changed")
        assert (await problem_of(await engine.post())).code == "model_altered"
        assert len(waiting.sent) == 1
        await eventually(partial(contains, engine.sandboxes.destroyed, waiting.container_id))
        assert engine.pool.facts().dropped["unhealthy"] == 1


async def test_one_whose_threads_lost_their_lock_while_it_waited_gets_no_job() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        waiting = engine.sandboxes.opened[-1]
        waiting.threads_after = waiting.threads_before
        answer = await engine.post()
        assert (await answer.json())["code"] == "lock_missing"
        assert len(waiting.sent) == 1


async def test_one_that_cannot_be_moved_to_the_leased_cpus_is_not_used() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        waiting = engine.sandboxes.opened[-1]
        waiting.cannot_be_placed = True
        start, _, container_id = await start_of(engine)
        assert (start, container_id == waiting.container_id) == ("cold", False)


async def test_where_sandboxes_cannot_be_placed_none_is_made_ahead_and_executions_go_on() -> None:
    async with pooling(answering(["a"])) as engine:

        def refuse(sandbox: FakeSandbox) -> None:
            sandbox.cannot_be_placed = True

        engine.sandboxes.on_open = refuse
        await start_of(engine)
        await eventually(lambda: engine.pool.facts().failures > 1)
        assert "CPUs cannot be set" in (engine.pool.facts().fault or "")
        assert (await start_of(engine))[0] == "cold"


async def test_nothing_is_begun_while_every_cpu_is_leased_and_what_was_begun_is_frozen() -> None:
    runner, half_made = HeldRunner(), asyncio.Event()

    async def script(sandbox: FakeSandbox, line_index: int) -> None:
        if line_index == 0 and not half_made.is_set() and len(engine.sandboxes.opened) > 1:
            await half_made.wait()
        await runner(sandbox, line_index)

    async with pooling(script) as engine:
        first = await engine.start()
        await engine.said(first, "first")
        assert len(engine.sandboxes.opened) == 1
        runner.gate.set()
        await engine.ended(first)
        # Now one is being made, and stays half made until the test says so.
        await eventually(lambda: len(engine.sandboxes.opened) == 2)
        making = engine.sandboxes.opened[1]
        await eventually(lambda: bool(making.sent))
        assert not making.is_frozen
        runner.gate.clear()
        half_made.set()
        await eventually(is_ready(engine))


async def test_a_sandbox_that_is_being_made_is_frozen_when_its_cpus_are_leased() -> None:
    blocked = asyncio.Event()

    async def script(sandbox: FakeSandbox, line_index: int) -> None:
        if sandbox is engine.sandboxes.opened[0] or sandbox is engine.sandboxes.opened[-1] is not making():
            await answering(["a"])(sandbox, line_index)
            return
        await blocked.wait()
        await answering(["a"])(sandbox, line_index)

    def making() -> FakeSandbox | None:
        return engine.sandboxes.opened[1] if len(engine.sandboxes.opened) > 1 else None

    async with pooling(script) as engine:
        await start_of(engine)
        await eventually(lambda: making() is not None and bool(making().sent))  # type: ignore[union-attr]
        frozen = making()
        assert frozen is not None
        seen: list[bool] = []
        engine.sandboxes.on_open = lambda _: seen.append(frozen.is_frozen)
        assert (await start_of(engine))[0] == "cold"
        assert seen[0], "it stood still before the execution's own sandbox was made"
        await eventually(lambda: not frozen.is_frozen)
        blocked.set()
        await eventually(is_ready(engine))


async def test_what_is_no_longer_installed_is_let_go() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        fixed = engine.installation.value
        engine.installation.value = replace(
            fixed, backends=tuple(Backend(each.name, each.required_cpu_flags, None) for each in fixed.backends)
        )
        await eventually(is_ready(engine, 0))
        assert engine.pool.facts().dropped["unwanted"] == 1


async def test_a_recipe_that_cannot_be_made_is_tried_again_later() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        engine.models.fault = Refusal("model_altered", "the file changed")
        ready = engine.sandboxes.opened[-1]
        ready.end(ExecutionFault("runner_failed", "it ended"))
        await eventually(lambda: engine.pool.facts().failures > 0)
        engine.models.fault = None
        await eventually(is_ready(engine))


async def test_a_recipe_that_fails_each_time_is_told_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        engine.models.fault = Refusal("model_altered", "the file changed")
        engine.sandboxes.opened[-1].end(ExecutionFault("runner_failed", "it ended"))
        await eventually(lambda: engine.pool.facts().failures >= 5)
        assert engine.pool.facts().held_back == {"model_altered": 1}
        told = [each.getMessage() for each in caplog.records if "could not be prepared" in each.getMessage()]
        assert [each.partition(" time(s)")[0].rpartition(" ")[2] for each in told] == ["1", "2", "4"]
        engine.models.fault = None
        await eventually(is_ready(engine))
        assert engine.pool.facts().held_back == {}


async def test_one_that_never_becomes_ready_is_given_up() -> None:
    async def script(sandbox: FakeSandbox, line_index: int) -> None:
        if sandbox is engine.sandboxes.opened[0]:
            await answering(["a"])(sandbox, line_index)

    async with pooling(script, prepare_timeout_s=1) as engine:
        await start_of(engine)
        await eventually(lambda: engine.pool.facts().failures > 0)
        assert engine.pool.facts().fault == "preparation took too long"
        assert engine.pool.facts().held_back == {"prepare_timeout": 1}


async def test_where_no_container_can_be_placed_none_is_made_and_the_reason_is_told() -> None:
    engine = Engine(answering(["a"]), pool=POLICY, unplaceable="control groups may not be written")
    async with engine.serving():
        assert (await start_of(engine))[0] == "cold"
        assert (await start_of(engine))[0] == "cold"
        assert len(engine.sandboxes.opened) == 2
        assert engine.pool.facts().fault == "control groups may not be written"


async def test_one_that_was_frozen_before_its_first_lock_goes_on_when_it_is_thawed() -> None:
    held, seen = HeldRunner(), asyncio.Event()
    async with pooling(held) as engine:

        def unlocked(sandbox: FakeSandbox) -> None:
            if len(engine.sandboxes.opened) == 1:
                sandbox.threads_before, sandbox.locked_later = (
                    (thread_under(0, seccomp_mode=0),),
                    sandbox.threads_before,
                )
                seen.set()

        engine.sandboxes.on_open = unlocked
        first = await engine.start()
        await engine.said(first, "first")
        held.gate.set()
        await engine.ended(first)
        async with asyncio.timeout(20):
            await seen.wait()
        making = engine.sandboxes.opened[1]
        held.gate.clear()
        second = await engine.start()
        await engine.said(second, "first")
        assert making.is_frozen
        assert making.sent == []
        making.threads_before = making.locked_later
        held.gate.set()
        await engine.ended(second)
        await eventually(is_ready(engine))


async def test_one_that_is_frozen_while_its_filters_are_read_goes_on_when_it_is_thawed() -> None:
    held, may_be_ready = HeldRunner(), asyncio.Event()

    async def script(sandbox: FakeSandbox, line_index: int) -> None:
        if line_index == 0 and sandbox is not engine.sandboxes.opened[0] and sandbox is engine.sandboxes.opened[1]:
            await may_be_ready.wait()
        await held(sandbox, line_index)

    async with pooling(script) as engine:
        first = await engine.start()
        await engine.said(first, "first")
        held.gate.set()
        await engine.ended(first)
        await eventually(lambda: len(engine.sandboxes.opened) > 1 and bool(engine.sandboxes.opened[1].sent))
        making = engine.sandboxes.opened[1]
        held.gate.clear()
        second = await engine.start()
        await engine.said(second, "first")
        assert making.is_frozen
        may_be_ready.set()
        await eventually(lambda: making.filters_asked > 0)
        held.gate.set()
        await engine.ended(second)
        await eventually(is_ready(engine))
        assert making.container_id not in engine.sandboxes.destroyed


async def test_one_without_its_first_lock_is_not_kept_for_an_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.execution.preparation.FIRST_LOCK_TIMEOUT_S", 0.1)

    def unlocked(sandbox: FakeSandbox) -> None:
        if len(engine.sandboxes.opened) == 1:
            sandbox.threads_before = (thread_under(0, seccomp_mode=0),)

    async with pooling(answering(["a"])) as engine:
        engine.sandboxes.on_open = unlocked
        await start_of(engine)
        await eventually(is_ready(engine))
        assert engine.pool.facts().failures == 1
        assert engine.sandboxes.opened[1].sent == []
        assert (await start_of(engine))[0] == "warm"


async def test_one_whose_threads_would_spin_is_frozen_until_it_has_a_job() -> None:
    request = spec_request()
    request["execution"] = request["execution"] | {"scheduler_policy": "exclusive"}
    async with pooling(answering(["a"])) as engine:
        await start_of(engine, request)
        await eventually(is_ready(engine))
        waiting = engine.sandboxes.opened[-1]
        seen = [waiting.is_frozen]
        assert await start_of(engine, request) == ("warm", ANY, waiting.container_id)
        assert [*seen, waiting.is_frozen] == [True, False]


async def test_one_whose_threads_sleep_is_not_frozen_so_that_its_end_is_seen() -> None:
    async with pooling(answering(["a"])) as engine:
        await start_of(engine)
        await eventually(is_ready(engine))
        assert not engine.sandboxes.opened[-1].is_frozen
