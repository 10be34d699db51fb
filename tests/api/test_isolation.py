"""Isolation tiers as a caller meets them: asked for, demanded, or not there."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from contracts.execution.run_request import ExecutionRequest
from contracts.wire.types import IsolationTier, RoleName
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.isolation import RegisteredRuntime
from supervisor.domain.sandbox.ports import ExitStatus
from tests.api.harness import EXPERIMENTER_TOKEN, Engine, problem_of
from tests.fakes.installation import FakeInstallation, fixed_installation
from tests.fakes.run_requests import spec_request
from tests.fakes.sandbox_facts import gvisor_as_asked
from tests.fakes.sandboxes import FakeSandbox

EXPERIMENTER = {"Authorization": f"Bearer {EXPERIMENTER_TOKEN}"}


def request_in(tier: IsolationTier | None) -> dict[str, object]:
    request = spec_request()
    return request | {"execution": request["execution"] | {"isolation": tier}}


def register(engine: Engine) -> None:
    tier = engine.installation.value.policies.sandbox.isolation.gvisor
    engine.sandboxes.registered[tier.runtime] = RegisteredRuntime(tier.program, tier.arguments, is_installed=True)


def demand_of(engine: Engine, role: RoleName, tier: IsolationTier) -> None:
    fixed = fixed_installation()
    stronger = fixed.policies.roles[role].model_copy(update={"isolation": tier})
    roles = dict(fixed.policies.roles) | {role: stronger}
    engine.installation.value = replace(fixed, policies=replace(fixed.policies, roles=roles))


async def test_a_tier_that_is_not_there_is_refused_and_nothing_is_started(engine: Engine) -> None:
    answer = await engine.post(request_in("gvisor"))
    problem = await problem_of(answer)
    assert (answer.status, problem.code, problem.errors[0].field) == (
        503,
        "isolation_unavailable",
        "/execution/isolation",
    )
    assert "make gvisor" in problem.detail
    assert engine.sandboxes.opened == []
    assert engine.ledger.started == {}
    await engine.is_well()


async def test_an_engine_that_is_down_is_told_as_such(engine: Engine) -> None:
    engine.sandboxes.up = False
    assert (await problem_of(await engine.post(request_in("gvisor")))).code == "engine_unavailable"


@pytest.mark.parametrize(("tier", "runtime"), [("hardened", "runc"), ("gvisor", "weos-gvisor"), (None, "runc")])
async def test_the_container_gets_the_runtime_of_its_tier(
    engine: Engine, tier: IsolationTier | None, runtime: str
) -> None:
    register(engine)
    execution_id = await engine.start(request_in(tier))
    record = await engine.record(execution_id)
    assert record.plan.isolation == (tier or "hardened")
    assert engine.sandboxes.configs[-1]["HostConfig"]["Runtime"] == runtime


async def test_a_plan_names_who_asked_and_the_tier(engine: Engine) -> None:
    plans = {}
    for name, headers in (("operator", None), ("experimenter", EXPERIMENTER)):
        answer = await engine.client.post("/v1/plans", json=request_in("gvisor"), headers=headers)
        plans[name] = (await answer.json())["plan"]
    assert {name: (plan["role"], plan["isolation"]) for name, plan in plans.items()} == {
        "operator": ("operator", "gvisor"),
        "experimenter": ("experimenter", "gvisor"),
    }


async def test_what_a_policy_demands_of_a_role_is_refused_or_given(engine: Engine) -> None:
    register(engine)
    demand_of(engine, "experimenter", "gvisor")
    answer = await engine.post(request_in("hardened"), EXPERIMENTER)
    assert (answer.status, (await problem_of(answer)).code) == (403, "isolation_required")
    assert engine.sandboxes.opened == []
    record = await engine.record(await engine.start(request_in(None), EXPERIMENTER))
    assert (record.plan.role, record.plan.isolation) == ("experimenter", "gvisor")
    operators = await engine.record(await engine.start(request_in(None)))
    assert (operators.plan.role, operators.plan.isolation) == ("operator", "hardened")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sandbox: sandbox.changed_facts.update(gvisor=gvisor_as_asked(filter_calls=())), "second lock"),
        (lambda sandbox: sandbox.changed_facts.update(gvisor=None), "not asked"),
        (lambda sandbox: setattr(sandbox, "guest_fault", ExecutionFault("lock_missing", "not root")), "not root"),
    ],
    ids=["no second lock", "nothing seen", "nobody to ask"],
)
async def test_without_a_look_into_gvisor_no_job_is_sent(
    engine: Engine, change: Callable[[FakeSandbox], None], words: str
) -> None:
    register(engine)
    engine.sandboxes.on_open = change
    problem = await problem_of(await engine.post(request_in("gvisor")))
    assert (problem.status, problem.code) == (500, "lock_missing")
    assert words in problem.detail
    assert not any(b'"job"' in line for line in engine.sandboxes.opened[-1].sent)


async def test_what_was_seen_of_gvisor_is_in_the_record(engine: Engine) -> None:
    register(engine)
    record = await engine.record(await engine.start(request_in("gvisor")))
    assert record.sandbox is not None
    receipt = record.sandbox.isolation
    assert receipt is not None
    assert receipt.gvisor is not None
    assert (receipt.tier, receipt.locks, receipt.gvisor.guest_filters) == ("gvisor", None, 1)


def test_the_request_leaves_the_tier_to_the_policy_unless_it_names_one() -> None:
    assert ExecutionRequest(backend="cpu_avx2", quantization="q4_1").isolation is None


def test_the_harness_demands_nothing_by_itself() -> None:
    roles = FakeInstallation().value.policies.roles
    assert {policy.isolation for policy in roles.values()} == {"hardened"}


async def test_a_runner_that_ended_before_it_could_be_watched_says_how_it_ended(engine: Engine) -> None:
    def end_at_once(sandbox: FakeSandbox) -> None:
        sandbox.guest_fault = ExecutionFault("lock_missing", "nobody can be asked")
        sandbox.end(ExecutionFault("runner_failed", "with exit status 3"), ExitStatus(3, oom_killed=False))

    register(engine)
    engine.sandboxes.on_open = end_at_once
    assert (await problem_of(await engine.post(request_in("gvisor")))).code == "runner_failed"
