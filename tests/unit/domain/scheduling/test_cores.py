"""Which cores a lease gets: never shared, near each other, and chosen so that large demands stay possible."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.domain.policies.policy import HousekeepingPolicy
from supervisor.domain.scheduling.cores import Demand, choose_cores, demand_of, wanted_cores
from supervisor.domain.scheduling.topology import Core, CpuPlace, form_cores, split_housekeeping
from tests.factories import make_plan
from tests.fakes.installation import fixed_installation

CORES = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans()), max_size=24)


def build(shapes: list[tuple[int, int, bool]]) -> tuple[Core, ...]:
    cores, first = [], 0
    for siblings, node, is_whole in shapes:
        cores.append(Core(tuple(range(first, first + siblings)), node, is_whole))
        first += siblings
    return tuple(cores)


def on(node: int, *cpus: int) -> list[Core]:
    return [Core((cpu,), node) for cpu in cpus]


@given(CORES, st.integers(1, 12), st.booleans())
def test_a_lease_has_all_its_cores_or_none(shapes: list[tuple[int, int, bool]], count: int, whole: bool) -> None:
    free = build(shapes)
    chosen = choose_cores(free, Demand(count, whole_cores=whole))
    fit = [core for core in free if core.is_whole or not whole]
    if chosen is None:
        assert len(fit) < count
    else:
        assert len(chosen) == len(set(chosen)) == count
        assert set(chosen) <= set(fit)


@given(CORES, st.integers(1, 12))
def test_a_lease_uses_as_few_nodes_as_possible(shapes: list[tuple[int, int, bool]], count: int) -> None:
    free = build(shapes)
    chosen = choose_cores(free, Demand(count))
    if chosen is not None:
        room, fewest = 0, 0
        for _, cores in Counter(core.node for core in free).most_common():
            if room < count:
                room, fewest = room + cores, fewest + 1
        assert len({core.node for core in chosen}) == fewest


@given(CORES, st.integers(1, 12))
def test_the_fullest_node_with_room_is_taken(shapes: list[tuple[int, int, bool]], count: int) -> None:
    free = build(shapes)
    room = Counter(core.node for core in free)
    fitting = [cores for cores in room.values() if cores >= count]
    chosen = choose_cores(free, Demand(count))
    if fitting:
        assert chosen is not None
        assert room[chosen[0].node] == min(fitting)


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=12), CORES)
def test_leases_never_share_a_core(demands: list[tuple[int, bool]], shapes: list[tuple[int, int, bool]]) -> None:
    free = set(build(shapes))
    leased: list[int] = []
    for count, whole in demands:
        chosen = choose_cores(free, Demand(count, whole_cores=whole))
        if chosen is not None:
            free -= set(chosen)
            leased += [cpu for core in chosen for cpu in core.cpus]
    assert len(leased) == len(set(leased))


def test_the_rest_of_a_large_demand_goes_to_the_node_that_fits_best() -> None:
    free = [*on(0, 0, 1), *on(1, 2, 3, 4, 5), *on(2, 6)]
    chosen = choose_cores(free, Demand(5))
    assert chosen is not None
    assert sorted(core.node for core in chosen) == [1, 1, 1, 1, 2]


def test_partial_cores_are_used_first_unless_whole_cores_are_demanded() -> None:
    half, whole = Core((2,), is_whole=False), Core((0, 1))
    assert choose_cores([whole, half], Demand(1)) == (half,)
    assert choose_cores([whole, half], Demand(1, whole_cores=True)) == (whole,)
    assert choose_cores([half], Demand(1, whole_cores=True)) is None


@pytest.mark.parametrize(
    ("cores", "wanted"), [(1, 1), (2, 2), (7, 7), (8, 8), (9, 4), (15, 7), (16, 8), (63, 7), (64, 8)]
)
def test_a_machine_is_divided_into_equal_shares(cores: int, wanted: int) -> None:
    assert wanted_cores(fixed_installation().policies.scheduling["default"], cores) == wanted


@given(st.integers(1, 512))
def test_fewer_cores_are_left_over_than_there_are_shares(cores: int) -> None:
    policy = fixed_installation().policies.scheduling["default"]
    share = wanted_cores(policy, cores)
    assert 1 <= share <= policy.cores_max
    assert cores - share * (cores // share) < cores // share


@given(st.dictionaries(st.integers(0, 15), st.tuples(st.frozensets(st.integers(0, 15)), st.integers(0, 3))))
def test_every_usable_cpu_is_in_exactly_one_core(described: dict[int, tuple[frozenset[int], int]]) -> None:
    # Whatever the kernel says, even that a core's CPUs disagree on which they are.
    places = {cpu: CpuPlace(siblings, node) for cpu, (siblings, node) in described.items()}
    cores = form_cores(places, range(12))
    assert sorted(cpu for core in cores for cpu in core.cpus) == list(range(12))
    assert list(cores) == sorted(cores, key=lambda core: core.cpus[0])


def test_a_small_machine_keeps_no_core_for_the_supervisor() -> None:
    cores = build([(2, 0, True)] * 3)
    assert split_housekeeping(cores, HousekeepingPolicy(cores=1, cores_min=4)) == (cores, ())


def test_a_larger_machine_keeps_its_lowest_core() -> None:
    cores = build([(2, 0, True)] * 4)
    assert split_housekeeping(cores, HousekeepingPolicy(cores=1, cores_min=4)) == (cores[1:], cores[:1])


def test_the_demand_follows_from_the_limits_of_the_plan() -> None:
    plan = make_plan()
    demand = demand_of(plan)
    assert (demand.cores, demand.whole_cores, demand.policy) == (2, False, "default")
    assert (demand.model, demand.model_bytes) == (plan.model.sha256, plan.model.size_bytes)
    assert demand.model_bytes + demand.private_bytes == plan.limits.memory_bytes
