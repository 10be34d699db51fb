"""Leases of CPUs: strictly first come first served, with a bounded queue."""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from supervisor.domain.errors import Refusal
from supervisor.domain.policy import QueuePolicy
from supervisor.domain.scheduling import choose_cpus

__all__ = ["CpuPool", "Ticket"]


class Ticket:
    """A place in the queue and, once granted, a lease. Leave the context to give either back."""

    def __init__(self, pool: "CpuPool", count: int) -> None:
        self._pool = pool
        self.count = count
        self.granted: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()

    @property
    def position(self) -> int | None:
        """1 is next; None when not waiting."""
        return self._pool.position(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    async def cpus(self) -> tuple[int, ...]:
        """Wait for the lease."""
        return await asyncio.shield(self.granted)

    def give_back(self) -> None:
        """Leave the queue, or return the CPUs; harmless when repeated."""
        self._pool.give_back(self)


class CpuPool:
    """The machine's CPUs."""

    def __init__(self, cpus: tuple[int, ...], policy: QueuePolicy) -> None:
        self._free = frozenset(cpus)
        self._policy = policy
        self._waiting: deque[Ticket] = deque()
        self._leases: dict[Ticket, frozenset[int]] = {}
        self._watchers: list[Callable[[frozenset[int]], None]] = []

    @property
    def idle_cpus(self) -> frozenset[int]:
        """The CPUs that no lease covers."""
        return self._free

    def watch_idle(self, callback: Callable[[frozenset[int]], None]) -> None:
        """Have it called whenever they change, before anybody gets the CPUs concerned."""
        self._watchers.append(callback)

    def _set_free(self, cpus: frozenset[int]) -> None:
        if cpus != self._free:
            self._free = cpus
            for callback in self._watchers:
                callback(cpus)

    def enqueue(self, count: int) -> Ticket:
        """Take a place; it is granted at once where enough CPUs are free and nobody waits.

        Raises:
            Refusal: ``queue_full``.
        """
        must_wait = bool(self._waiting) or len(self._free) < count
        if must_wait and len(self._waiting) >= self._policy.waiting_max:
            detail = f"{len(self._waiting)} executions are waiting for cores; ask again in a few seconds"
            raise Refusal("queue_full", detail)
        ticket = Ticket(self, count)
        self._waiting.append(ticket)
        self._grant()
        return ticket

    def position(self, ticket: Ticket) -> int | None:
        """Return a ticket's place in the queue."""
        return self._waiting.index(ticket) + 1 if ticket in self._waiting else None

    def give_back(self, ticket: Ticket) -> None:
        """Take a ticket out of the queue or its CPUs back."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            ticket.granted.cancel()
        self._set_free(self._free | self._leases.pop(ticket, frozenset()))
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            cpus = choose_cpus(self._free, self._waiting[0].count)
            if cpus is None:
                return
            ticket = self._waiting.popleft()
            self._set_free(self._free - frozenset(cpus))
            self._leases[ticket] = frozenset(cpus)
            ticket.granted.set_result(cpus)
