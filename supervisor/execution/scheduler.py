"""Leases of cores and memory: the asyncio layer around the decisions of the domain."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from prometheus_client import Metric

from supervisor.domain.errors import Refusal
from supervisor.domain.policies.policy import QueuePolicy
from supervisor.domain.scheduling.cores import Demand
from supervisor.domain.scheduling.fair_queue import FairQueue
from supervisor.domain.scheduling.leasing import Lease, LeaseBook
from supervisor.domain.scheduling.return_times import ReturnTimes, place_of_own
from supervisor.domain.scheduling.topology import Core
from supervisor.domain.scheduling.waiting_time import Occupancy, ServiceTimes, estimate_place_s, round_up_s
from supervisor.execution.scheduler_metrics import LeaseCounts, SchedulerSnapshot

__all__ = ["Scheduler", "Ticket"]

IdleWatcher = Callable[[frozenset[int]], None]


class Ticket:
    """A place in the queue and, once granted, a lease; leaving the context gives back either."""

    def __init__(self, scheduler: "Scheduler", demand: Demand, caller: str, now_s: float) -> None:
        self._scheduler = scheduler
        self.demand = demand
        self.caller = caller
        # Start of the wait; once granted, start of the lease.
        self.since_s = now_s
        # Whether the lease was given back before the execution came to its own end; then its time tells nothing.
        self.cut_short = False
        self.granted: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

    @property
    def position(self) -> int | None:
        """The place in the queue: 1 starts next; None means not waiting.

        Requests from other callers can move it back.
        """
        return self._scheduler.position(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    async def wait(self) -> Lease:
        """Wait for the lease."""
        return await asyncio.shield(self.granted)

    def give_back(self) -> None:
        """Leave the queue, or return the lease; harmless when repeated."""
        self._scheduler.give_back(self)


class Scheduler:
    """The machine's cores and memory, their leases and the queue for them."""

    def __init__(
        self,
        cores: tuple[Core, ...],
        memory_bytes: int,
        policy: QueuePolicy,
        *,
        housekeeping: frozenset[int] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a scheduler with everything free.

        Args:
            cores: the cores that can be leased.
            memory_bytes: the memory that can be leased.
            policy: limits of the queue.
            housekeeping: logical CPUs that are never leased.
            clock: returns monotonic seconds.
        """
        self._book: LeaseBook[Ticket] = LeaseBook(cores, memory_bytes)
        self._queue: FairQueue[Ticket] = FairQueue()
        self._counts = LeaseCounts()
        self._cores = len(cores)
        self._times = ServiceTimes(policy.service_s_unknown)
        self._returns = ReturnTimes(policy.waiting_per_caller_max)
        self._policy = policy
        self._housekeeping = housekeeping
        self._clock = clock
        self._watchers: list[IdleWatcher] = []
        self._announced = self.idle_cpus

    @property
    def idle_cpus(self) -> frozenset[int]:
        """Logical CPUs for background work: those that no lease covers, with every sibling of their cores.

        Empty while an execution has whole cores to itself: it measures, and other work shares its caches and memory.
        """
        if any(lease.demand.whole_cores for lease in self._book.leases.values()):
            return frozenset()
        return self._housekeeping.union(*(core.cpus for core in self._book.free))

    @property
    def waiting(self) -> int:
        """The number of executions that wait."""
        return len(self._queue)

    def watch_idle(self, watcher: IdleWatcher) -> None:
        """Call the watcher with `idle_cpus` whenever they change, before an execution learns that it has its CPUs.

        The call comes in the middle of a lease. The watcher must return at once, call nothing of this class, and not
        raise.
        """
        self._watchers.append(watcher)

    def collect(self) -> tuple[Metric, ...]:
        """Return the scheduler's metrics; Prometheus' library requires this name."""
        leases = self._book.leases.values()
        snapshot = SchedulerSnapshot(
            cores=self._cores,
            cores_leased=self._cores - len(self._book.free),
            memory_bytes=self._book.memory_bytes,
            memory_leased_bytes=self._book.leased_memory_bytes,
            running=tuple(lease.demand.policy for lease in leases),
            waiting=tuple(ticket.demand.policy for ticket in self._queue.order()),
        )
        return self._counts.families(snapshot)

    def require_possible(self, demand: Demand) -> None:
        """Refuse a demand that could never be leased on this machine.

        Raises:
            Refusal: ``insufficient_cores`` or ``insufficient_memory``.
        """
        try:
            self._book.require_possible(demand)
        except Refusal as refusal:
            self._counts.add_refused(refusal.code)
            raise

    def enqueue(self, demand: Demand, caller: str) -> Ticket:
        """Take a place in the queue; the lease is granted at once when it fits and no execution waits.

        Args:
            demand: the cores and memory that are needed.
            caller: name of the caller; callers take turns.

        Raises:
            Refusal: ``insufficient_cores`` or ``insufficient_memory``, the demand never fits; ``queue_full``, with the
                expected seconds until a place is free.
        """
        self.require_possible(demand)
        ticket = Ticket(self, demand, caller, self._clock())
        self._returns.come(caller, ticket.since_s)
        self._queue.append(caller, ticket)
        self._grant()
        if not ticket.granted.done():
            self._require_place(ticket)
        return ticket

    def position(self, ticket: Ticket) -> int | None:
        """Return a ticket's place in the queue."""
        order = self._queue.order()
        return order.index(ticket) + 1 if ticket in order else None

    def give_back(self, ticket: Ticket) -> None:
        """Remove a ticket from the queue, or return its lease."""
        if not ticket.granted.done():
            self._queue.remove(ticket.caller, ticket)
            ticket.granted.cancel()
        elif self._book.give_back(ticket) is not None and not ticket.cut_short:
            self._times.add(ticket.demand.policy, self._clock() - ticket.since_s)
        self._grant()

    def _grant(self) -> None:
        granted = []
        # No ticket overtakes another: freed resources are kept until the first ticket's demand fits.
        while order := self._queue.order():
            lease = self._book.take(order[0], order[0].demand)
            if lease is None:
                break
            ticket = self._queue.pop()
            now_s = self._clock()
            self._counts.add_granted(ticket.demand.policy, now_s - ticket.since_s)
            ticket.since_s = now_s
            granted.append((ticket, lease))
        try:
            self._announce()
        finally:
            for ticket, lease in granted:
                ticket.granted.set_result(lease)

    def _announce(self) -> None:
        if self.idle_cpus != self._announced:
            self._announced = self.idle_cpus
            for watcher in self._watchers:
                watcher(self._announced)

    def _require_place(self, ticket: Ticket) -> None:
        """Remove a ticket again and refuse it, when the queue exceeds a limit."""
        own, everyone = self._queue.count_of(ticket.caller), len(self._queue)
        if own <= self._policy.waiting_per_caller_max and everyone <= self._policy.waiting_max:
            return
        order = self._queue.order()
        if own > self._policy.waiting_per_caller_max:
            whose = f"{own - 1} executions of this caller are waiting, which is the maximum"
            # The caller gets a place when the first of its own tickets leaves the queue.
            ahead = self._returns.count_of(ticket.caller)
            grants = place_of_own([other.caller for other in order], ticket.caller, ahead)
        else:
            whose = f"{everyone - 1} executions are waiting, which is the maximum"
            ahead = self._returns.count()
            grants = 1 + ahead
        # Those who are to come again take the places that become free before.
        retry_after_s = self._estimate_place_s([*order, *[ticket] * ahead], grants)
        self._returns.tell(ticket.caller, ticket.since_s + retry_after_s)
        self._queue.remove(ticket.caller, ticket)
        ticket.granted.cancel()
        self._counts.add_refused("queue_full")
        detail = f"{whose}; a place is expected to be free in {retry_after_s} s"
        raise Refusal("queue_full", detail, retry_after_s=retry_after_s)

    def _estimate_place_s(self, order: list[Ticket], grants: int) -> int:
        now_s = self._clock()
        seconds = estimate_place_s(
            [self._occupy(ticket, elapsed_s=now_s - ticket.since_s) for ticket in self._book.leases],
            [self._occupy(ticket) for ticket in order],
            free_cores=len(self._book.free),
            grants=grants,
        )
        return round_up_s(seconds, most_s=self._policy.retry_after_max_s)

    def _occupy(self, ticket: Ticket, *, elapsed_s: float = 0.0) -> Occupancy:
        return Occupancy(ticket.demand.cores, self._times.expect(ticket.demand.policy), elapsed_s)
