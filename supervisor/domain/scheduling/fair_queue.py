"""The queue order: callers take turns, and the requests of one caller are served in the order of their arrival.

No request overtakes another: while the next request waits for room, all others wait too, so the room it needs becomes
free. A request behind k others of its own caller is served as number (k + 1) * callers at the latest, no matter how
small the other callers' requests are. The cost is room that stays empty in the meantime.
"""

from collections import deque
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

_T = TypeVar("_T")


class FairQueue(Generic[_T]):
    """Waiting requests, grouped by caller."""

    def __init__(self) -> None:
        # Sorted by turn: the first caller is next.
        self._turns: dict[str, deque[_T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._turns.values()))

    def count_of(self, caller: str) -> int:
        """Return how many requests of a caller are waiting."""
        return len(self._turns.get(caller, ()))

    def append(self, caller: str, item: _T) -> None:
        """Add a request; a caller without waiting requests gets the last turn."""
        self._turns.setdefault(caller, deque()).append(item)

    def pop(self) -> _T:
        """Remove and return the next request.

        Raises:
            StopIteration: the queue is empty.
        """
        caller = next(iter(self._turns))
        own = self._turns.pop(caller)
        item = own.popleft()
        if own:
            self._turns[caller] = own
        return item

    def remove(self, caller: str, item: _T) -> None:
        """Remove a request that no longer waits; its caller keeps the turn for its next request."""
        own = self._turns[caller]
        own.remove(item)
        if not own:
            del self._turns[caller]

    def order(self) -> list[_T]:
        """Return the requests in the order in which they will be served if no other request arrives."""
        found = []
        left = [list(own) for own in self._turns.values()]
        for turn in range(max(map(len, left), default=0)):
            found += [own[turn] for own in left if turn < len(own)]
        return found
