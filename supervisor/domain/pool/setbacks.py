"""How long a recipe waits after its sandboxes could not be prepared, and which failures are told. Pure.

A model that crashes at load crashes each time. Making it again every few seconds would cost CPU time for ever, and a
warning each time would bury all others.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from supervisor.domain.sandbox.starts import ENGINE_FAULTS

__all__ = ["Setback", "Setbacks"]

# 10 s become 10 minutes at most, in which an operator who has found the cause can wait for the next attempt.
LONGEST_WAIT_FACTOR = 60
# 60 s where the container engine fails: these attempts also find out whether it works again.
LONGEST_WAIT_FOR_ENGINE_FACTOR = 6


@dataclass(frozen=True, slots=True)
class Setback:
    """Failures of one recipe in a row."""

    count: int
    code: str
    """Code of the newest failure."""
    wait_s: float
    """Seconds from the newest failure to the next attempt."""
    not_before_s: float
    """Monotonic time of the next attempt."""

    @property
    def is_told(self) -> bool:
        """Whether this failure gets a line in the log: the first, the second, the fourth, the eighth."""
        return self.count & (self.count - 1) == 0


class Setbacks:
    """The recipes that failed, by digest."""

    def __init__(self, first_wait_s: float) -> None:
        """Know of no failure.

        Args:
            first_wait_s: seconds to wait after the first failure; each further one in a row doubles them.
        """
        self._first_wait_s = first_wait_s
        self._by_recipe: dict[str, Setback] = {}

    def may_try(self, recipe: str, now_s: float) -> bool:
        """Return whether a recipe may be tried at this monotonic time."""
        setback = self._by_recipe.get(recipe)
        return setback is None or setback.not_before_s <= now_s

    def add(self, recipe: str, code: str, now_s: float) -> Setback | None:
        """Count a failure; None means that it belongs to an attempt that has already been counted."""
        if not self.may_try(recipe, now_s):
            # Several sandboxes of a recipe are made at once, and fail for the same reason.
            return None
        before = self._by_recipe.get(recipe)
        count = 1 if before is None else before.count + 1
        most = LONGEST_WAIT_FOR_ENGINE_FACTOR if code in ENGINE_FAULTS else LONGEST_WAIT_FACTOR
        wait_s = self._first_wait_s * min(2 ** min(count - 1, most), most)
        setback = self._by_recipe[recipe] = Setback(count, code, wait_s, now_s + wait_s)
        return setback

    def forget(self, recipe: str) -> None:
        """Begin at nothing again, because a sandbox of this recipe could be prepared."""
        self._by_recipe.pop(recipe, None)

    def keep(self, wanted: Collection[str]) -> None:
        """Forget the recipes that nobody wants any more."""
        self._by_recipe = {recipe: each for recipe, each in self._by_recipe.items() if recipe in wanted}

    def count_by_code(self) -> dict[str, int]:
        """Return how many recipes wait after a failure, by its code."""
        return dict(Counter(each.code for each in self._by_recipe.values()))
