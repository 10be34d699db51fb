"""Named steps, each with its reason, a running display and its time; a terminal shows a bar, a file plain lines."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

__all__ = ["ConsoleProgress", "Progress", "Step"]

PLAIN_INTERVAL_S = 5.0
BAR_CELLS = 24


class Step(Protocol):
    """One step while it runs."""

    def update(self, done: float, total: float, detail: str = "") -> None:
        """Show how much is done."""
        ...

    def note(self, text: str) -> None:
        """Print a line that stays on the screen."""
        ...


class Progress(Protocol):
    """Shows the steps of long work."""

    @contextmanager
    def step(self, title: str, reason: str) -> Iterator[Step]:
        """Show one step for as long as the block runs."""
        ...

    def unchanged(self, title: str) -> None:
        """Say that a step has nothing to do."""
        ...


class _BarStep:
    """A step on a terminal: a bar that moves."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._bars = Bars(
            TextColumn("   "),
            BarColumn(bar_width=BAR_CELLS),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self._bars.add_task(title, total=None, detail="")

    def start(self) -> None:
        self._bars.start()

    def stop(self) -> None:
        self._bars.stop()

    def update(self, done: float, total: float, detail: str = "") -> None:
        self._bars.update(self._task, completed=done, total=total, detail=_shortened(detail))

    def note(self, text: str) -> None:
        self._console.print(f"    {escape(text)}", highlight=False, soft_wrap=True)


class _LineStep:
    """A step where there is no terminal: a plain line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at_s = time.monotonic()

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def update(self, done: float, total: float, detail: str = "") -> None:
        now_s = time.monotonic()
        if now_s - self._shown_at_s < PLAIN_INTERVAL_S:
            return
        self._shown_at_s = now_s
        part = min(1.0, done / total) if total else 0.0
        bar = ("#" * round(part * BAR_CELLS)).ljust(BAR_CELLS, ".")
        self._console.print(
            f"    [{bar}] {part:4.0%} {_shortened(detail)}", markup=False, highlight=False, soft_wrap=True
        )

    def note(self, text: str) -> None:
        self._console.print(f"    {text}", markup=False, highlight=False, soft_wrap=True)


class ConsoleProgress:
    """Shows steps on a terminal, or as plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    @contextmanager
    def step(self, title: str, reason: str) -> Iterator[Step]:
        """Print the title and the reason, show the step while it runs, then its time."""
        self._console.print(f"[bold]{escape(title)}[/bold]: {escape(reason)}", highlight=False, soft_wrap=True)
        step = _BarStep(self._console, title) if self._console.is_terminal else _LineStep(self._console)
        started_s = time.monotonic()
        step.start()
        try:
            yield step
        except BaseException:
            step.stop()
            self._finish("failed after", started_s)
            raise
        step.stop()
        self._finish("done in", started_s)

    def unchanged(self, title: str) -> None:
        """Say that a step has nothing to do."""
        self._console.print(f"[bold]{escape(title)}[/bold]: unchanged, nothing to do", highlight=False, soft_wrap=True)

    def _finish(self, verdict: str, started_s: float) -> None:
        self._console.print(f"    {verdict} {time.monotonic() - started_s:.1f} s", highlight=False, soft_wrap=True)


def _shortened(detail: str) -> str:
    return detail if len(detail) <= 60 else f"{detail[:57]}..."  # noqa: PLR2004 - what fits beside the bar
