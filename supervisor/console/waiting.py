"""A line on a terminal's standard error for as long as nothing comes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

import click

from supervisor.console.bar import QUIET_S

__all__ = ["show_waiting"]

INTERVAL_S = 1.0
ERASE_LINE = "\r\x1b[K"


class _Notice:
    """The line, written by a thread of its own until it is ended."""

    def __init__(self, describe: Callable[[], str], quiet_s: float) -> None:
        self._describe = describe
        self._quiet_s = quiet_s
        self._over = Event()
        self._writing = Lock()
        self._is_shown = False

    def work(self) -> None:
        """Show what is being waited for, again and again."""
        pause_s = self._quiet_s
        while not self._over.wait(pause_s):
            pause_s = INTERVAL_S
            said = self._describe()
            with self._writing:
                if self._over.is_set():
                    return
                self._is_shown = True
                _write(ERASE_LINE + click.style(said, dim=True))

    def end(self) -> None:
        """Take the line away; harmless if it is not there."""
        with self._writing:
            self._over.set()
            if self._is_shown:
                self._is_shown = False
                _write(ERASE_LINE)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


@contextmanager
def show_waiting(describe: Callable[[], str], quiet_s: float = QUIET_S) -> Iterator[Callable[[], None]]:
    """Yield a function that ends the waiting; until then a terminal shows what is being waited for.

    Args:
        describe: returns what is being waited for, and may take long; called in a thread of its own.
        quiet_s: nothing is shown before.
    """
    notice = _Notice(describe, quiet_s)
    if sys.stderr.isatty():
        # It may hang in `describe`, and shall not keep the process.
        Thread(target=notice.work, name="waiting", daemon=True).start()
    try:
        yield notice.end
    finally:
        notice.end()
