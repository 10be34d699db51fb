"""Turns: no caller and no large request is starved, and positions are true."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from supervisor.domain.scheduling.fair_queue import FairQueue

CALLERS = ("a", "b", "c")
# An arrival of a caller's request, a grant (None), or a request that is given up (its number among those waiting).
STEPS = st.lists(st.one_of(st.sampled_from(CALLERS), st.none(), st.integers(0, 20)), max_size=80)


def play(steps: list[str | int | None]) -> tuple[FairQueue[int], dict[int, tuple[str, int, int]], list[int], list[int]]:
    """Return the queue; each request's caller, place among its caller's, and grants before it; the served, the rest."""
    queue: FairQueue[int] = FairQueue()
    asked: dict[int, tuple[str, int, int]] = {}
    served: list[int] = []
    given_up: list[int] = []
    for step in steps:
        if isinstance(step, str):
            asked[len(asked)] = (step, queue.count_of(step), len(served))
            queue.append(step, len(asked) - 1)
        elif step is None and len(queue):
            served.append(queue.pop())
        elif step is not None and len(queue):
            item = queue.order()[step % len(queue)]
            queue.remove(asked[item][0], item)
            given_up.append(item)
    return queue, asked, served, given_up


@given(STEPS)
def test_every_request_is_served_after_a_bounded_number_of_grants(steps: list[str | int | None]) -> None:
    queue, asked, served, _ = play(steps)
    while len(queue):
        served.append(queue.pop())
    for place, item in enumerate(served):
        _, before, granted_before = asked[item]
        assert place + 1 - granted_before <= (before + 1) * len(CALLERS)


@given(STEPS)
def test_nothing_is_lost_and_nothing_served_twice(steps: list[str | int | None]) -> None:
    queue, asked, served, given_up = play(steps)
    left = queue.order()
    assert sorted([*served, *given_up, *left]) == sorted(asked)
    assert len(queue) == len(left)
    assert sum(queue.count_of(caller) for caller in CALLERS) == len(left)


@given(STEPS)
def test_a_caller_is_served_in_the_order_of_its_requests(steps: list[str | int | None]) -> None:
    _, asked, served, _ = play(steps)
    by_caller = defaultdict(list)
    for item in served:
        by_caller[asked[item][0]].append(item)
    assert all(own == sorted(own) for own in by_caller.values())


@given(STEPS)
def test_the_order_holds_if_no_other_request_arrives(steps: list[str | int | None]) -> None:
    queue, _, _, _ = play(steps)
    order = queue.order()
    assert [queue.pop() for _ in range(len(queue))] == order


def test_a_caller_with_many_requests_does_not_delay_a_caller_with_few() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(10):
        queue.append("greedy", f"greedy {number}")
    queue.append("modest", "modest 0")
    assert queue.order()[:3] == ["greedy 0", "modest 0", "greedy 1"]


def test_a_caller_that_withdraws_a_request_keeps_its_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for caller, item in (("a", "a0"), ("b", "b0"), ("a", "a1")):
        queue.append(caller, item)
    queue.remove("a", "a0")
    assert queue.order() == ["a1", "b0"]
