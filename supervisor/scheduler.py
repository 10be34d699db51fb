"""Leases of physical cores: strictly first come first served, with a bounded queue."""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from supervisor.domain.errors import Refusal
from supervisor.domain.policy import QueuePolicy
from supervisor.domain.scheduling import Demand, choose_cores
from supervisor.domain.topology import Core

__all__ = ["IdleWatcher", "Scheduler", "Ticket"]

IdleWatcher = Callable[[frozenset[int]], None]


class Ticket:
    """A place in the queue and, once granted, a lease. Leave the context to give either back."""

    def __init__(self, scheduler: "Scheduler", demand: Demand) -> None:
        self._scheduler = scheduler
        self.demand = demand
        self.granted: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()

    @property
    def position(self) -> int | None:
        """1 is next; None when not waiting."""
        return self._scheduler.position(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    async def cpus(self) -> tuple[int, ...]:
        """Wait for the lease; return its logical CPUs, all siblings of its cores."""
        return await asyncio.shield(self.granted)

    def give_back(self) -> None:
        """Leave the queue, or return the cores; harmless when repeated."""
        self._scheduler.give_back(self)


class Scheduler:
    """The machine's cores, and who waits for them."""

    def __init__(
        self, cores: tuple[Core, ...], policy: QueuePolicy, *, housekeeping: frozenset[int] = frozenset()
    ) -> None:
        """Begin with every core free.

        Args:
            cores: what can be leased.
            policy: how many may wait.
            housekeeping: logical CPUs that are never leased.
        """
        self._free = frozenset(cores)
        self._housekeeping = housekeeping
        self._policy = policy
        self._waiting: deque[Ticket] = deque()
        self._leases: dict[Ticket, frozenset[Core]] = {}
        self._watchers: list[IdleWatcher] = []
        self._announced = self.idle_cpus

    @property
    def idle_cpus(self) -> frozenset[int]:
        """Logical CPUs that no lease covers; a lease covers every logical CPU of its cores."""
        return self._housekeeping.union(*(core.cpus for core in self._free))

    @property
    def waiting(self) -> int:
        """How many executions wait."""
        return len(self._waiting)

    def watch_idle(self, watcher: IdleWatcher) -> None:
        """Call this with `idle_cpus` whenever they change, and before an execution hears that it has its CPUs.

        It is called in the middle of a lease: it must return at once, call nothing of this class, and not raise.
        """
        self._watchers.append(watcher)

    def enqueue(self, demand: Demand) -> Ticket:
        """Take a place; it is granted at once where enough cores are free and nobody waits.

        Raises:
            Refusal: ``queue_full``.
        """
        must_wait = bool(self._waiting) or choose_cores(self._free, demand) is None
        if must_wait and len(self._waiting) >= self._policy.waiting_max:
            detail = f"{len(self._waiting)} executions are waiting for cores; ask again in a few seconds"
            raise Refusal("queue_full", detail)
        ticket = Ticket(self, demand)
        self._waiting.append(ticket)
        self._grant()
        return ticket

    def position(self, ticket: Ticket) -> int | None:
        """Return a ticket's place in the queue."""
        return self._waiting.index(ticket) + 1 if ticket in self._waiting else None

    def give_back(self, ticket: Ticket) -> None:
        """Take a ticket out of the queue or its cores back."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            ticket.granted.cancel()
        self._free |= self._leases.pop(ticket, frozenset())
        self._grant()

    def _grant(self) -> None:
        granted = []
        while self._waiting:
            cores = choose_cores(self._free, self._waiting[0].demand)
            if cores is None:
                break
            ticket = self._waiting.popleft()
            self._free -= frozenset(cores)
            self._leases[ticket] = frozenset(cores)
            granted.append(ticket)
        try:
            self._announce()
        finally:
            for ticket in granted:
                ticket.granted.set_result(tuple(sorted(cpu for core in self._leases[ticket] for cpu in core.cpus)))

    def _announce(self) -> None:
        if self.idle_cpus != self._announced:
            self._announced = self.idle_cpus
            for watcher in self._watchers:
                watcher(self._announced)
