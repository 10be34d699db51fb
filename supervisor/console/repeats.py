"""Warnings that come again and again: each is written once, then ever more rarely with its count."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["RepeatFilter"]

# A warning that was not repeated for so long is news again.
FORGOTTEN_AFTER_S = 3600.0
REMEMBERED_MAX = 256


@dataclass(slots=True)
class _Seen:
    count: int
    newest_s: float


class RepeatFilter(logging.Filter):
    """Lets the first, the second, the fourth, the eighth … equal warning through, and sets `repeated` to its count.

    Two warnings are equal if logger, level, message and execution are. What is below a warning always passes.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Remember nothing yet.

        Args:
            now_s: returns the monotonic time.
        """
        super().__init__()
        self._now_s = now_s
        self._seen: OrderedDict[tuple[object, ...], _Seen] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, record.levelno, record.getMessage(), getattr(record, "execution_id", None))
        now_s = self._now_s()
        seen = self._seen.pop(key, None)
        if seen is None or now_s - seen.newest_s > FORGOTTEN_AFTER_S:
            seen = _Seen(0, now_s)
        seen.count += 1
        seen.newest_s = now_s
        self._seen[key] = seen
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
        record.repeated = seen.count
        return seen.count & (seen.count - 1) == 0
