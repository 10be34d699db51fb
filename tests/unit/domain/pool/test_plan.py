"""What the pool makes and lets go of, by policy, room and rank."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.wire.units import MIB, NS_PER_S
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.pool.demand import PoolDemand
from supervisor.domain.pool.plan import PooledSandbox, PoolStep, Wanted, plan_pool
from supervisor.domain.pool.survey import Survey, survey_installation
from supervisor.domain.sandbox.recipe import recipe_of
from supervisor.execution.pool_metrics import PoolFacts
from tests.fakes.installation import IMAGE, fixed_installation
from tests.unit.domain.planning.test_planning import request_with

POLICY = fixed_installation().policies.pool.model_copy(update={"size_max": 4, "max_age_s": 60})


def ready(number: int, recipe: str, *, memory_bytes: int = MIB, since_s: int = 0) -> PooledSandbox:
    return PooledSandbox(number, recipe, memory_bytes, since_s * NS_PER_S)


def step(
    there: list[PooledSandbox],
    wanted: list[Wanted],
    *,
    size_max: int = 4,
    budget_bytes: int = 100 * MIB,
    now_s: int = 0,
) -> PoolStep:
    policy = POLICY.model_copy(update={"size_max": size_max})
    return plan_pool(there, wanted, policy, budget_bytes=budget_bytes, now_ns=now_s * NS_PER_S)


def test_missing_sandboxes_are_created_the_most_wanted_first() -> None:
    wanted = [Wanted("a", MIB, 2), Wanted("b", MIB, 1)]
    assert step([], wanted) == PoolStep(("a", "a", "b"), ())
    assert step([ready(1, "a")], wanted) == PoolStep(("a", "b"), ())


def test_sandboxes_being_created_count() -> None:
    assert step([PooledSandbox(1, "a", MIB, None)], [Wanted("a", MIB, 1)]) == PoolStep((), ())


def test_surplus_sandboxes_stay_until_they_are_old() -> None:
    there = [ready(1, "a"), ready(2, "a")]
    assert step(there, [Wanted("a", MIB, 1)]) == PoolStep((), ())
    assert step(there, [Wanted("a", MIB, 1)], now_s=61) == PoolStep(("a",), ((1, "age"), (2, "age")))


def test_unwanted_sandboxes_are_dropped() -> None:
    assert step([ready(1, "x"), PooledSandbox(2, "x", MIB, None)], []) == PoolStep(
        (), ((1, "unwanted"), (2, "unwanted"))
    )


def test_the_number_of_sandboxes_is_bounded() -> None:
    assert step([], [Wanted("a", MIB, 9)], size_max=3).make == ("a",) * 3
    assert step([], [Wanted("a", MIB, 9)], size_max=0) == PoolStep((), ())


def test_memory_is_bounded_and_a_recipe_that_does_not_fit_blocks_no_other() -> None:
    wanted = [Wanted("huge", 11 * MIB, 1), Wanted("small", MIB, 1)]
    assert step([], wanted, budget_bytes=10 * MIB).make == ("small",)


def test_less_wanted_sandboxes_make_room_and_never_the_reverse() -> None:
    there = [ready(1, "a"), ready(2, "b"), ready(3, "b"), ready(4, "c")]
    wanted = [Wanted("new", MIB, 2), Wanted("a", MIB, 1), Wanted("b", MIB, 2), Wanted("c", MIB, 1)]
    taken = step(there, wanted)
    assert taken.make == ("new", "new")
    assert taken.drop == ((4, "budget"), (3, "budget"))
    assert step(there, [*wanted[1:], wanted[0]]) == PoolStep((), ())


@given(
    there=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5), st.none() | st.integers(0, 90)), max_size=8),
    wanted=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5), st.integers(0, 4)), max_size=4),
    size_max=st.integers(0, 6),
    budget=st.integers(0, 20),
)
def test_no_step_exceeds_the_bounds_nor_makes_what_it_drops(
    there: list[tuple[str, int, int | None]], wanted: list[tuple[str, int, int]], size_max: int, budget: int
) -> None:
    sizes = {name: memory for name, memory, _ in wanted}
    sandboxes = [
        PooledSandbox(number, name, sizes.get(name, memory), None if since_s is None else since_s * NS_PER_S)
        for number, (name, memory, since_s) in enumerate(there)
    ]
    unique = {name: Wanted(name, memory, count) for name, memory, count in wanted}
    sizes = {name: each.memory_bytes for name, each in unique.items()}
    sandboxes = [replace(each, memory_bytes=sizes.get(each.recipe, each.memory_bytes)) for each in sandboxes]
    before = len(sandboxes), sum(each.memory_bytes for each in sandboxes)
    found = step(sandboxes, list(unique.values()), size_max=size_max, budget_bytes=budget, now_s=100)
    dropped = {number for number, _ in found.drop}
    left = [each for each in sandboxes if each.number not in dropped]
    memory = sum(each.memory_bytes for each in left) + sum(sizes[name] for name in found.make)
    # What was there before a bound was lowered stays until something is to be made.
    if found.make:
        assert len(left) + len(found.make) <= max(size_max, before[0])
        assert memory <= max(budget, before[1])
    assert all(each.recipe in sizes for each in left)
    for name, each in unique.items():
        made = found.make.count(name)
        assert made <= each.count
        if made:
            assert not any(sandboxes[number].recipe == name for number, reason in found.drop if reason == "budget")


def test_a_recipe_contains_nothing_of_the_request_itself() -> None:
    installation = fixed_installation()
    one = plan_execution(request_with({"seed": 1, "stop": ["x"], "sampling": {"temperature": 1}}), installation)
    other = plan_execution(
        request_with({"limits": {"max_tokens": 3, "timeout_s": 9}}, prompt="another", nonce="0" * 32), installation
    )
    assert recipe_of(one) == recipe_of(other)
    assert "prompt" not in recipe_of(one).canonical().decode()


@pytest.mark.parametrize("changes", [{"context_tokens": 512}, {"isolation": "gvisor"}, {"limits": {"max_watts": 3}}])
def test_everything_that_shapes_a_sandbox_is_in_its_recipe(changes: dict[str, object]) -> None:
    installation = fixed_installation()
    plans = [plan_execution(request_with(each), installation) for each in ({}, changes)]
    assert recipe_of(plans[0]) != recipe_of(plans[1])


def test_the_survey_lists_declared_recipes_that_can_be_planned() -> None:
    installation = fixed_installation()
    kept = installation.policies.pool.keep[0].model_copy(
        update={"model": installation.models[0].name, "quantization": installation.models[0].quantization, "size": 3}
    )
    unknown = kept.model_copy(update={"model": "not-there"})
    pool = installation.policies.pool.model_copy(update={"keep": (unknown, kept)})
    survey = survey_installation(replace(installation, policies=replace(installation.policies, pool=pool)))
    assert [count for _, count in survey.declared] == [3]
    assert survey.declared[0][0].model.name == kept.model
    assert IMAGE in survey.images
    assert survey.models == {model.sha256 for model in installation.models}


def test_recent_recipes_are_wanted_newest_first_and_in_a_bounded_number() -> None:
    installation = fixed_installation()
    recipes = [
        recipe_of(plan_execution(request_with({"context_tokens": size}), installation)) for size in (512, 1024, 2048)
    ]
    demand = PoolDemand(POLICY.model_copy(update={"recent_recipes": 2, "recent_size": 3}))
    for recipe in (recipes[0], recipes[1], recipes[0], recipes[2]):
        demand.ask(recipe)
    assert list(demand.wanted().values()) == [(recipes[2], 3), (recipes[0], 3)]


def test_a_declared_recipe_is_wanted_more_if_it_was_requested_recently() -> None:
    installation = fixed_installation()
    recipe = recipe_of(plan_execution(request_with(), installation))
    demand = PoolDemand(POLICY.model_copy(update={"recent_recipes": 2, "recent_size": 3}))
    survey = Survey(((recipe, 1),), frozenset({recipe.runtime_image}), frozenset({recipe.model.sha256}))
    demand.survey(survey)
    assert list(demand.wanted().values()) == [(recipe, 1)]
    demand.ask(recipe)
    assert list(demand.wanted().values()) == [(recipe, 3)]
    demand.survey(Survey((), survey.images, survey.models))
    assert list(demand.wanted().values()) == [(recipe, 3)]
    demand.survey(Survey((), survey.images, frozenset()))
    assert demand.wanted() == {}


def test_nothing_waits_on_a_gpu() -> None:
    recipe = recipe_of(plan_execution(request_with(), fixed_installation())).model_copy(update={"backend": "cuda"})
    demand = PoolDemand(POLICY)
    demand.ask(recipe)
    assert demand.wanted() == {}


def test_the_pools_numbers_can_be_watched() -> None:
    facts = PoolFacts(
        ready=2,
        being_made=1,
        hits=5,
        misses=3,
        dropped={"age": 4},
        failures=1,
        fault=None,
        held_back={"model_crashed": 1},
    )
    samples = {
        (sample.name, *sample.labels.items()): sample.value for each in facts.families() for sample in each.samples
    }
    assert samples == {
        ("weos_pool_sandboxes", ("state", "being_made")): 1,
        ("weos_pool_sandboxes", ("state", "ready")): 2,
        ("weos_pool_leases_total", ("result", "hit")): 5,
        ("weos_pool_leases_total", ("result", "miss")): 3,
        ("weos_pool_dropped_total", ("reason", "age")): 4,
        ("weos_pool_failures_total",): 1,
        ("weos_pool_held_back", ("code", "model_crashed")): 1,
    }
