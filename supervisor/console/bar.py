"""Progress of something countable, shown once it takes longer than a moment; needs nothing but click."""

import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click

__all__ = ["QUIET_S", "show_progress"]

QUIET_S = 2.0
PLAIN_INTERVAL_S = 5.0


class Bar:
    """Counts on standard error: a moving bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, title: str, total: int, stack: ExitStack, quiet_s: float) -> None:
        self._title = title
        self.total = total
        self._stack = stack
        self._show_from_s = time.monotonic() + quiet_s
        self._bar: click._termui_impl.ProgressBar[int] | None = None
        self.done = 0

    def step(self, count: int = 1) -> None:
        """Count more as done."""
        self.done += count
        now_s = time.monotonic()
        if now_s < self._show_from_s:
            return
        if not sys.stderr.isatty():
            click.echo(f"{self._title}: {self._describe()}", err=True)
            self._show_from_s = now_s + PLAIN_INTERVAL_S
            return
        if self._bar is None:
            self._bar = self._stack.enter_context(self._new_bar())
        self._bar.update(self.done - self._bar.pos)

    def _new_bar(self) -> "click._termui_impl.ProgressBar[int]":
        if self.total == 0:
            # click takes an unknown length only from an iterable that has none; it is never iterated.
            return click.progressbar(itertools.count(), label=self._title, show_pos=True, file=sys.stderr)
        return click.progressbar(length=self.total, label=self._title, file=sys.stderr)

    def _describe(self) -> str:
        if self.total == 0:
            return str(self.done)
        return f"{min(1.0, self.done / self.total):.0%} ({self.done} of {self.total})"


@contextmanager
def show_progress(title: str, total: int = 0, quiet_s: float = QUIET_S) -> Iterator[Bar]:
    """Show a bar while the block runs.

    Args:
        title: what is counted, such as "exporting entries".
        total: how many there are; 0: unknown.
        quiet_s: nothing is shown before.
    """
    with ExitStack() as stack:
        yield Bar(title, total, stack, quiet_s)
