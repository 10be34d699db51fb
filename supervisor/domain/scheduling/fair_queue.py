"""Who is next: callers take turns, and among one caller's own requests the first that came is the first served.

Nobody overtakes: while the next one waits for room, all wait. So what it needs is gathered for it, and a request with k
of its caller's before it is at the latest the (k + 1) * callers-th to be served, however small the others' are. What
that costs is room that stands empty meanwhile.
"""

from collections import deque
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

_T = TypeVar("_T")


class FairQueue(Generic[_T]):
    """Waiting requests by caller."""

    def __init__(self) -> None:
        # In the order of their turns.
        self._turns: dict[str, deque[_T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._turns.values()))

    def count_of(self, caller: str) -> int:
        """Return how many requests of a caller wait."""
        return len(self._turns.get(caller, ()))

    def append(self, caller: str, item: _T) -> None:
        """Take a request in; a caller who had none gets the last turn."""
        self._turns.setdefault(caller, deque()).append(item)

    def pop(self) -> _T:
        """Take out the next request.

        Raises:
            StopIteration: there is none.
        """
        caller = next(iter(self._turns))
        own = self._turns.pop(caller)
        item = own.popleft()
        if own:
            self._turns[caller] = own
        return item

    def remove(self, caller: str, item: _T) -> None:
        """Take out a request that waits no longer; its caller keeps the turn for the next one."""
        own = self._turns[caller]
        own.remove(item)
        if not own:
            del self._turns[caller]

    def order(self) -> list[_T]:
        """Return the requests in the order in which they are served if no other comes."""
        found = []
        left = [list(own) for own in self._turns.values()]
        for turn in range(max(map(len, left), default=0)):
            found += [own[turn] for own in left if turn < len(own)]
        return found
