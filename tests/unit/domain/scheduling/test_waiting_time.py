"""How honest a Retry-After is: where executions take as long as is usual, it is exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.domain.scheduling.waiting_time import Occupancy, ServiceTimes, estimate_place_s, round_up_s


def test_the_policy_gives_the_expected_time_until_an_execution_has_ended() -> None:
    assert ServiceTimes(5).expect("default") == 5


def test_the_median_of_the_policy_is_expected_or_else_that_of_all_policies() -> None:
    times = ServiceTimes(5)
    for service_s in (1.0, 2.0, 90.0):
        times.add("default", service_s)
    times.add("throughput", 10.0)
    assert (times.expect("default"), times.expect("throughput"), times.expect("exclusive")) == (2.0, 10.0, 6.0)


def test_old_service_times_are_forgotten() -> None:
    times = ServiceTimes(5)
    for service_s in [100.0] * 32 + [1.0] * 32:
        times.add("default", service_s)
    assert times.expect("default") == 1.0


def test_an_overdue_execution_is_expected_to_take_as_long_again_as_it_has_taken() -> None:
    assert Occupancy(1, expected_s=4.0, elapsed_s=1.0).remaining_s == 3.0
    assert Occupancy(1, expected_s=4.0, elapsed_s=4.0).remaining_s == 4.0
    assert Occupancy(1, expected_s=4.0, elapsed_s=9.0).remaining_s == 9.0


@pytest.mark.parametrize(
    ("running", "waiting", "free", "grants", "expected_s"),
    [
        # Two cores, one execution on each; the first to end leaves its core to the first that waits.
        ([(1, 4, 1), (1, 4, 3)], [(1, 4)], 0, 1, 1.0),
        # One that needs both waits for both.
        ([(1, 4, 1), (1, 4, 3)], [(2, 4)], 0, 1, 3.0),
        # The second that waits gets the other core, the third what the first gives back.
        ([(1, 4, 1), (1, 4, 3)], [(1, 4)] * 3, 0, 2, 3.0),
        ([(1, 4, 1), (1, 4, 3)], [(1, 4)] * 3, 0, 3, 5.0),
        # There is room already.
        ([], [(1, 4)], 2, 1, 0.0),
    ],
)
def test_the_estimate_simulates_the_queue(
    running: list[tuple[int, float, float]],
    waiting: list[tuple[int, float]],
    free: int,
    grants: int,
    expected_s: float,
) -> None:
    estimate = estimate_place_s(
        [Occupancy(*each) for each in running],
        [Occupancy(*each) for each in waiting],
        free_cores=free,
        grants=grants,
    )
    assert estimate == expected_s


@given(st.lists(st.integers(1, 4), min_size=1, max_size=20), st.integers(1, 20))
def test_more_executions_ahead_never_shorten_the_estimate(cores: list[int], grants: int) -> None:
    waiting = [Occupancy(each, 2.0) for each in cores]
    estimates = [
        estimate_place_s([Occupancy(4, 2.0)], waiting, free_cores=0, grants=count) for count in (grants, grants + 1)
    ]
    assert estimates[0] <= estimates[1]


@given(st.floats(0, 1e6))
def test_the_estimate_is_rounded_up_to_whole_seconds_in_bounds(seconds: float) -> None:
    told = round_up_s(seconds, most_s=300)
    assert 1 <= told <= 300
    assert told >= min(seconds, 300)
