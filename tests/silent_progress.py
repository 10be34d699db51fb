"""Progress of steps that nobody watches."""

from collections.abc import Iterator
from contextlib import contextmanager

from supervisor.console.steps import Step

__all__ = ["SilentProgress"]


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def step(self, title: str, reason: str) -> Iterator[Step]:
        """Do nothing."""
        yield self

    def unchanged(self, title: str) -> None:
        """Do nothing."""

    def update(self, done: float, total: float, detail: str = "") -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
