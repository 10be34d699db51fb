"""Leases of cores and memory as they come and go: the asyncio around the decisions of the domain."""

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
from supervisor.domain.scheduling.topology import Core
from supervisor.domain.scheduling.waiting_time import Occupancy, ServiceTimes, estimate_place_s, round_up_s
from supervisor.execution.scheduler_metrics import LeaseCounts, SchedulerSnapshot

__all__ = ["Scheduler", "Ticket"]

IdleWatcher = Callable[[frozenset[int]], None]


class Ticket:
    """A place in the queue and, once granted, a lease. Leave the context to give either back."""

    def __init__(self, scheduler: "Scheduler", demand: Demand, caller: str, now_s: float) -> None:
        self._scheduler = scheduler
        self.demand = demand
        self.caller = caller
        # Of waiting, then of the lease.
        self.since_s = now_s
        self.granted: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

    @property
    def position(self) -> int | None:
        """1 is next, if nobody else comes; None when not waiting."""
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
        """Leave the queue, or return what was leased; harmless when repeated."""
        self._scheduler.give_back(self)


class Scheduler:
    """The machine's cores and memory, who has them and who waits for them."""

    def __init__(
        self,
        cores: tuple[Core, ...],
        memory_bytes: int,
        policy: QueuePolicy,
        *,
        housekeeping: frozenset[int] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with everything free.

        Args:
            cores: what can be leased.
            memory_bytes: likewise.
            policy: how many may wait.
            housekeeping: logical CPUs that are never leased.
            clock: seconds that only go forward.
        """
        self._book: LeaseBook[Ticket] = LeaseBook(cores, memory_bytes)
        self._queue: FairQueue[Ticket] = FairQueue()
        self._counts = LeaseCounts()
        self._cores = len(cores)
        self._times = ServiceTimes(policy.service_s_unknown)
        self._policy = policy
        self._housekeeping = housekeeping
        self._clock = clock
        self._watchers: list[IdleWatcher] = []
        self._announced = self.idle_cpus

    @property
    def idle_cpus(self) -> frozenset[int]:
        """Logical CPUs for work in the background: those that no lease covers, with every sibling of its cores.

        None beside an execution that has whole cores to itself: it measures, and caches and memory are everybody's.
        """
        if any(lease.demand.whole_cores for lease in self._book.leases.values()):
            return frozenset()
        return self._housekeeping.union(*(core.cpus for core in self._book.free))

    @property
    def waiting(self) -> int:
        """How many executions wait."""
        return len(self._queue)

    def watch_idle(self, watcher: IdleWatcher) -> None:
        """Call this with `idle_cpus` whenever they change, and before an execution hears that it has its CPUs.

        It is called in the middle of a lease: it must return at once, call nothing of this class, and not raise.
        """
        self._watchers.append(watcher)

    def collect(self) -> tuple[Metric, ...]:
        """Return the numbers to be watched; so Prometheus' library calls it."""
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
        """Refuse what could never be leased here.

        Raises:
            Refusal: ``insufficient_cores`` or ``insufficient_memory``.
        """
        try:
            self._book.require_possible(demand)
        except Refusal as refusal:
            self._counts.add_refused(refusal.code)
            raise

    def enqueue(self, demand: Demand, caller: str) -> Ticket:
        """Take a place; it is granted at once where there is room and nobody waits.

        Args:
            demand: what is needed.
            caller: who asks; callers take turns.

        Raises:
            Refusal: ``insufficient_cores`` or ``insufficient_memory``, it never fits; ``queue_full``, with when there
                will be a place.
        """
        self.require_possible(demand)
        ticket = Ticket(self, demand, caller, self._clock())
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
        """Take a ticket out of the queue or its lease back."""
        if not ticket.granted.done():
            self._queue.remove(ticket.caller, ticket)
            ticket.granted.cancel()
        elif self._book.give_back(ticket) is not None:
            self._times.add(ticket.demand.policy, self._clock() - ticket.since_s)
        self._grant()

    def _grant(self) -> None:
        granted = []
        # Nobody overtakes: what the next one needs is gathered for it.
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
        """Take a ticket out again that is one too many."""
        own, everyone = self._queue.count_of(ticket.caller), len(self._queue)
        if own <= self._policy.waiting_per_caller_max and everyone <= self._policy.waiting_max:
            return
        order = self._queue.order()
        if own > self._policy.waiting_per_caller_max:
            whose = f"{own - 1} of this caller's executions are waiting, which is as many as may"
            # The first of its own that leaves the queue leaves it a place.
            grants = next(place for place, other in enumerate(order, 1) if other.caller == ticket.caller)
        else:
            whose = f"{everyone - 1} executions are waiting, which is as many as may"
            grants = 1
        retry_after_s = self._estimate_place_s(order, grants)
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
