"""A bar for work on many entries that takes longer than a moment; needs nothing but the command-line library."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click

__all__ = ["Bar", "show_progress"]

QUIET_S = 2.0
PLAIN_INTERVAL_S = 5.0


class Bar:
    """Moves on standard error once the work has taken `QUIET_S`; where that is no terminal, a plain line at times."""

    def __init__(self, title: str, total: int, stack: ExitStack, quiet_s: float) -> None:
        self._title = title
        self.total = total
        self._stack = stack
        self._show_from_s = time.monotonic() + quiet_s
        self._bar: click._termui_impl.ProgressBar[int] | None = None
        self.done = 0

    def step(self) -> None:
        """Say that one more is done."""
        self.done += 1
        now_s = time.monotonic()
        if now_s < self._show_from_s:
            return
        if not sys.stderr.isatty():
            part = min(1.0, self.done / max(self.total, 1))
            click.echo(f"{self._title}: {part:.0%} ({self.done} of {self.total})", err=True)
            self._show_from_s = now_s + PLAIN_INTERVAL_S
            return
        if self._bar is None:
            bar = click.progressbar(length=self.total, label=self._title, file=sys.stderr)
            self._bar = self._stack.enter_context(bar)
        self._bar.update(self.done - self._bar.pos)


@contextmanager
def show_progress(title: str, total: int, quiet_s: float = QUIET_S) -> Iterator[Bar]:
    """Give a bar for as long as the block runs."""
    with ExitStack() as stack:
        yield Bar(title, total, stack, quiet_s)
