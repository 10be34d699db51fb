"""Leases as they come and go: who hears what, and in which order."""

import asyncio

import pytest

from supervisor.domain.errors import Refusal
from supervisor.domain.policies.policy import QueuePolicy
from supervisor.domain.scheduling.cores import Demand
from supervisor.domain.scheduling.topology import Core
from supervisor.execution.scheduler import Scheduler, Ticket

PAIRS = (Core((0, 4)), Core((1, 5)), Core((2, 6)))


class Clock:
    """Seconds that go forward when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make_scheduler(
    *,
    waiting_max: int = 8,
    waiting_per_caller_max: int = 8,
    housekeeping: frozenset[int] = frozenset(),
    clock: Clock | None = None,
) -> Scheduler:
    policy = QueuePolicy(
        waiting_max=waiting_max,
        waiting_per_caller_max=waiting_per_caller_max,
        retry_after_max_s=300,
        service_s_unknown=5,
    )
    return Scheduler(PAIRS, 2**30, policy, housekeeping=housekeeping, clock=clock or Clock())


async def cpus_of(ticket: Ticket) -> tuple[int, ...]:
    async with asyncio.timeout(5):
        return (await ticket.wait()).cpus


async def test_a_lease_is_of_every_sibling_and_leaves_the_rest_idle() -> None:
    scheduler = make_scheduler(housekeeping=frozenset({9}))
    assert scheduler.idle_cpus == {0, 1, 2, 4, 5, 6, 9}
    async with scheduler.enqueue(Demand(2), "a") as ticket:
        assert await cpus_of(ticket) == (0, 1, 4, 5)
        assert scheduler.idle_cpus == {2, 6, 9}
    assert scheduler.idle_cpus == {0, 1, 2, 4, 5, 6, 9}


async def test_a_watcher_hears_of_cpus_before_the_execution_that_gets_them() -> None:
    scheduler = make_scheduler()
    heard: list[tuple[frozenset[int], bool]] = []
    tickets: list[Ticket] = []
    scheduler.watch_idle(lambda idle: heard.append((idle, any(ticket.granted.done() for ticket in tickets))))
    first, second = scheduler.enqueue(Demand(2), "a"), scheduler.enqueue(Demand(2), "a")
    assert heard == [(frozenset({2, 6}), False)]
    tickets.append(second)
    assert scheduler.waiting == 1
    first.give_back()
    # Two cores came back and two went: the same, so nothing changed.
    assert len(heard) == 1
    assert await cpus_of(second) == (0, 1, 4, 5)
    third = scheduler.enqueue(Demand(1), "a")
    tickets.append(third)
    assert heard[-1] == (frozenset(), True)
    tickets[:] = [third]
    third.give_back()
    second.give_back()
    assert heard[-1] == (frozenset({0, 1, 2, 4, 5, 6}), True)


async def test_a_waiting_execution_hears_after_the_watcher_when_its_cpus_change_hands() -> None:
    scheduler = make_scheduler()
    first = scheduler.enqueue(Demand(1), "a")
    large = scheduler.enqueue(Demand(3), "a")
    was_granted: list[bool] = []
    scheduler.watch_idle(lambda idle: was_granted.append(large.granted.done()))
    first.give_back()
    assert was_granted == [False]
    assert await cpus_of(large) == (0, 1, 2, 4, 5, 6)


async def test_a_watcher_that_fails_keeps_nobody_from_a_lease() -> None:
    scheduler = make_scheduler()

    def fail(idle: frozenset[int]) -> None:
        raise LookupError(idle)

    first, second = scheduler.enqueue(Demand(3), "a"), scheduler.enqueue(Demand(1), "a")
    scheduler.watch_idle(fail)
    with pytest.raises(LookupError):
        first.give_back()
    assert await cpus_of(second) == (0, 4)


async def test_giving_back_twice_is_harmless() -> None:
    scheduler = make_scheduler()
    ticket, other = scheduler.enqueue(Demand(1), "a"), scheduler.enqueue(Demand(1), "a")
    ticket.give_back()
    ticket.give_back()
    assert scheduler.idle_cpus == {0, 2, 4, 6}
    assert other.position is None


async def test_callers_take_turns() -> None:
    scheduler = make_scheduler()
    first = scheduler.enqueue(Demand(3), "a")
    others = [scheduler.enqueue(Demand(3), caller) for caller in "aab"]
    assert [ticket.position for ticket in others] == [1, 3, 2]
    first.give_back()
    assert [ticket.position for ticket in others] == [None, 2, 1]


async def test_a_small_execution_does_not_overtake_a_large_one() -> None:
    scheduler = make_scheduler()
    held = scheduler.enqueue(Demand(1), "a")
    large, small = scheduler.enqueue(Demand(3), "b"), scheduler.enqueue(Demand(1), "c")
    assert (large.position, small.position) == (1, 2)
    held.give_back()
    assert (large.position, small.position) == (None, 1)


async def test_leaving_the_queue_frees_the_place_at_once() -> None:
    scheduler = make_scheduler(waiting_max=1)
    scheduler.enqueue(Demand(3), "a")
    waiting = scheduler.enqueue(Demand(1), "a")
    with pytest.raises(Refusal):
        scheduler.enqueue(Demand(1), "b")
    waiting.give_back()
    assert scheduler.enqueue(Demand(1), "b").position == 1


async def test_leaving_the_queue_lets_those_behind_have_what_was_gathered() -> None:
    scheduler = make_scheduler()
    scheduler.enqueue(Demand(2), "a")
    large, small = scheduler.enqueue(Demand(2), "b"), scheduler.enqueue(Demand(1), "c")
    large.give_back()
    assert await cpus_of(small) == (2, 6)


async def test_a_caller_cannot_take_the_places_of_others() -> None:
    scheduler = make_scheduler(waiting_max=4, waiting_per_caller_max=2)
    scheduler.enqueue(Demand(3), "a")
    for _ in range(2):
        scheduler.enqueue(Demand(3), "a")
    with pytest.raises(Refusal, match="2 executions of this caller") as own:
        scheduler.enqueue(Demand(3), "a")
    assert own.value.code == "queue_full"
    for caller in "bc":
        assert scheduler.enqueue(Demand(3), caller).position is not None
    with pytest.raises(Refusal, match="4 executions are waiting"):
        scheduler.enqueue(Demand(3), "d")
    assert scheduler.waiting == 4


async def test_who_is_turned_away_is_told_when_there_will_be_a_place() -> None:
    clock = Clock()
    scheduler = make_scheduler(waiting_max=2, waiting_per_caller_max=1, clock=clock)
    ended = scheduler.enqueue(Demand(1), "a")
    clock.now_s += 40.0
    ended.give_back()
    scheduler.enqueue(Demand(3), "a")
    clock.now_s += 15.0
    for caller in "ab":
        scheduler.enqueue(Demand(3), caller)
    with pytest.raises(Refusal) as full:
        scheduler.enqueue(Demand(3), "c")
    # The one that runs needs 25 s more; then the next leaves the queue.
    assert full.value.retry_after_s == 25
    with pytest.raises(Refusal) as own:
        scheduler.enqueue(Demand(3), "b")
    # Its own is the second in the queue.
    assert own.value.retry_after_s == 65


async def test_before_anything_has_ended_the_policy_says_how_long_it_takes() -> None:
    scheduler = make_scheduler(waiting_max=0)
    scheduler.enqueue(Demand(3), "a")
    with pytest.raises(Refusal) as refused:
        scheduler.enqueue(Demand(3), "b")
    assert refused.value.retry_after_s == 5


async def test_a_refused_execution_leaves_nothing_behind() -> None:
    scheduler = make_scheduler(waiting_max=0)
    held = scheduler.enqueue(Demand(3), "a")
    with pytest.raises(Refusal):
        scheduler.enqueue(Demand(1), "b")
    held.give_back()
    assert scheduler.idle_cpus == {0, 1, 2, 4, 5, 6}
    assert scheduler.waiting == 0


async def test_what_can_never_fit_is_refused_also_where_there_is_room_to_wait() -> None:
    scheduler = make_scheduler()
    with pytest.raises(Refusal, match="only 3 can be leased on this machine"):
        scheduler.enqueue(Demand(4), "a")
    with pytest.raises(Refusal, match="can be leased on this machine"):
        scheduler.enqueue(Demand(1, private_bytes=2**31), "a")
    assert scheduler.waiting == 0


async def test_beside_an_execution_that_measures_nothing_is_for_the_background() -> None:
    scheduler = make_scheduler(housekeeping=frozenset({9}))
    before = scheduler.idle_cpus
    assert before
    ticket = scheduler.enqueue(Demand(1, whole_cores=True), "a")
    assert scheduler.idle_cpus == frozenset()
    ticket.give_back()
    assert scheduler.idle_cpus == before


def refused_s(scheduler: Scheduler, caller: str) -> int:
    with pytest.raises(Refusal) as refused:
        scheduler.enqueue(Demand(3), caller)
    assert refused.value.retry_after_s is not None
    return refused.value.retry_after_s


async def test_the_time_told_grows_while_an_execution_overruns() -> None:
    clock = Clock()
    scheduler = make_scheduler(waiting_max=0, clock=clock)
    quick = scheduler.enqueue(Demand(3), "a")
    clock.now_s += 1.0
    quick.give_back()
    scheduler.enqueue(Demand(3), "a")
    told = []
    for _ in range(6):
        told.append(refused_s(scheduler, "b"))
        clock.now_s += told[-1]
    # Each is the last time that the caller comes in vain: 1, 1, 2, 4, and so on.
    assert told == [1, 1, 2, 4, 8, 16]


async def test_a_cancelled_execution_is_no_service_time() -> None:
    clock = Clock()
    scheduler = make_scheduler(waiting_max=0, clock=clock)
    for cut_short, service_s in [(False, 60.0), (True, 0.1), (True, 0.1)]:
        ticket = scheduler.enqueue(Demand(3), "a")
        clock.now_s += service_s
        ticket.cut_short = cut_short
        ticket.give_back()
    scheduler.enqueue(Demand(3), "a")
    assert refused_s(scheduler, "b") == 60


async def test_a_refused_wave_is_spread_and_finds_its_places() -> None:
    """What comes again at its time is taken, where executions take as long as is usual."""
    clock = Clock()
    scheduler = make_scheduler(waiting_max=4, waiting_per_caller_max=4, clock=clock)
    first = scheduler.enqueue(Demand(3), "a")
    clock.now_s += 2.0
    first.give_back()
    running = [scheduler.enqueue(Demand(3), "a") for _ in range(5)]
    callers = [f"caller {number}" for number in range(12)]
    told = {caller: clock.now_s + refused_s(scheduler, caller) for caller in callers}
    assert sorted(set(told.values())) == [clock.now_s + 2 * (number + 1) for number in range(12)]
    for caller, at_s in told.items():
        while clock.now_s < at_s:
            clock.now_s += 2.0
            running.pop(0).give_back()
        running.append(scheduler.enqueue(Demand(3), caller))
    assert [ticket.caller for ticket in running] == callers[-5:]


async def test_a_caller_that_asks_and_asks_sends_nobody_else_away_for_long() -> None:
    clock = Clock()
    scheduler = make_scheduler(waiting_max=2, waiting_per_caller_max=2, clock=clock)
    for _ in range(3):
        scheduler.enqueue(Demand(3), "a")
    assert [refused_s(scheduler, "a") for _ in range(20)] == [5] * 20
    assert refused_s(scheduler, "b") == 10
