"""Who was refused and told to come again: so that not all come at once, each for the same place."""

from collections.abc import Sequence

__all__ = ["ReturnTimes", "place_of_own"]


class ReturnTimes:
    """The times at which refused callers were told to come again, and which have not passed."""

    def __init__(self, per_caller_max: int) -> None:
        """Start without any.

        Args:
            per_caller_max: how many of one caller's count for others, so that one who asks and asks cannot send the
                others away for long.
        """
        self._per_caller_max = per_caller_max
        self._due_s: dict[str, list[float]] = {}

    def come(self, caller: str, now_s: float) -> None:
        """Note that a caller asks: it is taken for the one that was to come first, early or in time."""
        for name in list(self._due_s):
            self._due_s[name] = [each for each in self._due_s[name] if each >= now_s]
        self._due_s[caller] = self._due_s.get(caller, [])[1:]
        self._due_s = {name: due_s for name, due_s in self._due_s.items() if due_s}

    def tell(self, caller: str, at_s: float) -> None:
        """Note when a caller was told to come again."""
        self._due_s[caller] = sorted([*self._due_s.get(caller, ()), at_s])

    def count(self) -> int:
        """Return how many are to come."""
        return sum(min(len(due_s), self._per_caller_max) for due_s in self._due_s.values())

    def count_of(self, caller: str) -> int:
        """Return how many of one caller are to come."""
        return len(self._due_s.get(caller, ()))


def place_of_own(order: Sequence[str], caller: str, ahead: int) -> int:
    """Return how many must get their cores until a caller has a place for one more.

    Args:
        order: callers of the waiting executions, the next first; the caller is among them.
        caller: who has as many executions waiting as it may.
        ahead: how many places are for requests of the same caller that are to come again.
    """
    own = [place for place, other in enumerate(order, 1) if other == caller]
    beyond = max(0, ahead + 1 - len(own))
    # Beyond what waits now callers take turns.
    return own[min(ahead, len(own) - 1)] + beyond * len(set(order))
