"""Leases as they come and go: who hears what, and in which order."""

import asyncio

import pytest

from supervisor.domain.policy import QueuePolicy
from supervisor.domain.scheduling import Demand
from supervisor.domain.topology import Core
from supervisor.scheduler import Scheduler, Ticket

PAIRS = (Core((0, 4)), Core((1, 5)), Core((2, 6)))


def make_scheduler(*, waiting_max: int = 8, housekeeping: frozenset[int] = frozenset()) -> Scheduler:
    return Scheduler(PAIRS, QueuePolicy(waiting_max=waiting_max, retry_after_s=5), housekeeping=housekeeping)


async def cpus_of(ticket: Ticket) -> tuple[int, ...]:
    async with asyncio.timeout(5):
        return await ticket.cpus()


async def test_a_lease_is_of_every_sibling_and_leaves_the_rest_idle() -> None:
    scheduler = make_scheduler(housekeeping=frozenset({9}))
    assert scheduler.idle_cpus == {0, 1, 2, 4, 5, 6, 9}
    async with scheduler.enqueue(Demand(2)) as ticket:
        assert await cpus_of(ticket) == (0, 1, 4, 5)
        assert scheduler.idle_cpus == {2, 6, 9}
    assert scheduler.idle_cpus == {0, 1, 2, 4, 5, 6, 9}


async def test_a_watcher_hears_of_cpus_before_the_execution_that_gets_them() -> None:
    scheduler = make_scheduler()
    heard: list[tuple[frozenset[int], bool]] = []
    tickets: list[Ticket] = []
    scheduler.watch_idle(lambda idle: heard.append((idle, any(ticket.granted.done() for ticket in tickets))))
    first, second = scheduler.enqueue(Demand(2)), scheduler.enqueue(Demand(2))
    assert heard == [(frozenset({2, 6}), False)]
    tickets.append(second)
    assert scheduler.waiting == 1
    first.give_back()
    # Two cores came back and two went: the same, so nothing changed.
    assert len(heard) == 1
    assert await cpus_of(second) == (0, 1, 4, 5)
    third = scheduler.enqueue(Demand(1))
    tickets.append(third)
    assert heard[-1] == (frozenset(), True)
    tickets[:] = [third]
    third.give_back()
    second.give_back()
    assert heard[-1] == (frozenset({0, 1, 2, 4, 5, 6}), True)


async def test_a_waiting_execution_hears_after_the_watcher_when_its_cpus_change_hands() -> None:
    scheduler = make_scheduler()
    first = scheduler.enqueue(Demand(1))
    large = scheduler.enqueue(Demand(3))
    was_granted: list[bool] = []
    scheduler.watch_idle(lambda idle: was_granted.append(large.granted.done()))
    first.give_back()
    assert was_granted == [False]
    assert await cpus_of(large) == (0, 1, 2, 4, 5, 6)


async def test_a_watcher_that_fails_keeps_nobody_from_a_lease() -> None:
    scheduler = make_scheduler()

    def fail(idle: frozenset[int]) -> None:
        raise LookupError(idle)

    first, second = scheduler.enqueue(Demand(3)), scheduler.enqueue(Demand(1))
    scheduler.watch_idle(fail)
    with pytest.raises(LookupError):
        first.give_back()
    assert await cpus_of(second) == (0, 4)


async def test_giving_back_twice_is_harmless() -> None:
    scheduler = make_scheduler()
    ticket, other = scheduler.enqueue(Demand(1)), scheduler.enqueue(Demand(1))
    ticket.give_back()
    ticket.give_back()
    assert scheduler.idle_cpus == {0, 2, 4, 6}
    assert other.position is None
