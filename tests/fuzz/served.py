"""A supervisor over fakes that serves in a thread of its own, for clients that are no coroutines."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web

from contracts.api.openapi import OPERATIONS
from tests.api.harness import Engine

__all__ = ["Served", "served"]

NAMES = {(operation.method, operation.path): operation.operation_id for operation in OPERATIONS}


@dataclass(frozen=True)
class Served:
    """Where it is reached, and what it answered: how often by operation and status."""

    url: str
    answers: Counter[tuple[str, int]]
    stop: Callable[[], object]


async def _serve(engine: Engine, begun: "Future[Served]") -> None:
    answers: Counter[tuple[str, int]] = Counter()
    done = asyncio.Event()

    async def count(request: web.Request, response: web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        route = (method, "" if resource is None else resource.canonical)
        answers[NAMES.get(route, "none"), response.status] += 1

    engine.on_response.append(count)
    loop = asyncio.get_running_loop()
    async with engine.serving():
        url = str(engine.client.make_url("")).rstrip("/")
        begun.set_result(Served(url, answers, lambda: loop.call_soon_threadsafe(done.set)))
        await done.wait()


@contextmanager
def served(engine: Engine) -> Iterator[Served]:
    """Serve until the block ends; an execution that is then without its record, or a sandbox that is left, fails."""
    begun: Future[Served] = Future()
    ended: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(_serve(engine, begun))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            ended.append(error)
            if not begun.done():
                begun.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    serving = begun.result()
    try:
        yield serving
    finally:
        serving.stop()
        thread.join()
    if ended:
        raise ended[0]
