"""Work beside other work: carried through a cancellation, gathered at the end, repeated, or running during a block."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

__all__ = ["TaskSet", "beside", "carry_through", "repeating"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


async def carry_through(work: Awaitable[_T]) -> _T:
    """Run work to its end, even when the caller is cancelled meanwhile.

    Returns:
        What the work returns.

    Raises:
        asyncio.CancelledError: the caller was cancelled; raised when the work has ended, and its error is logged.
        Exception: what the work raises.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.warning("work that outlived its caller's cancellation failed: %r", fault)
    raise cancelled


class TaskSet:
    """Tasks under way; each leaves the set when it ends."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Future[Any]]:
        return iter(self._tasks)

    def begin(self, work: Coroutine[Any, Any, _T], *, name: str | None = None) -> "asyncio.Task[_T]":
        """Run work as a task of the set."""
        task = asyncio.create_task(work, name=name)
        self.add(task)
        return task

    def add(self, future: "asyncio.Future[Any]") -> None:
        """Hold a future until it is done."""
        self._tasks.add(future)
        future.add_done_callback(self._tasks.discard)

    async def wait(self, *, timeout_s: float | None = None, enough: asyncio.Event | None = None) -> None:
        """Wait until the set is empty.

        Args:
            timeout_s: seconds after which the wait is given up; None: never.
            enough: when set, the wait is given up.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if enough is None:
                    await self._wait_empty()
                    return
                async with beside(enough.wait(), name="enough") as told:
                    while self._tasks and not told.done():
                        await asyncio.wait({*self._tasks, told}, return_when=asyncio.FIRST_COMPLETED)

    async def cancel(self) -> None:
        """Cancel what is under way and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait_empty(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, _T], *, name: str) -> AsyncIterator["asyncio.Task[_T]"]:
    """Run work as a task during the block; at the end of the block it is cancelled and waited for."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def repeating(work: Callable[[], Awaitable[object]], every_s: float, name: str) -> AsyncIterator[None]:
    """Repeat work during the block, ``every_s`` seconds after it last ended; an error is logged and does not end it."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await work()
            except Exception:  # noqa: BLE001 - the task's boundary: the next time is due even if this one failed
                _log.exception("regular work failed: %s", name)

    async with beside(repeat(), name=name):
        yield
