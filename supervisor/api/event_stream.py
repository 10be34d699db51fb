"""One execution as server-sent events: `started`, `token`, then `done` or `error`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from aiohttp import web

from contracts.api.responses import RunView, StreamDone, StreamStarted
from supervisor.api.connection import PROBE_S, Connection
from supervisor.api.problems import problem_of, problem_of_run
from supervisor.domain.errors import StorageError
from supervisor.execution.run import Run
from supervisor.tasks import beside

__all__ = ["events_of_ended", "events_of_run", "stream_events"]

# Widespread clients end a line at these characters too, as Python's str.splitlines does. In a JSON document they stand
# in strings only, so that escaping them changes nothing else.
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


async def stream_events(
    request: web.Request,
    events: AsyncIterator[tuple[str | None, str]],
    *,
    keep_alive_s: float,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Send events, each a name or None and a JSON document, and a comment where nothing else was sent for a while."""
    stream_headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
    response = web.StreamResponse(headers={**stream_headers, **(headers or {})})
    await response.prepare(request)
    sending = asyncio.Lock()

    async def keep_alive() -> None:
        while True:
            await _pause(request.protocol, keep_alive_s)
            async with sending:
                await response.write(b": waiting\n\n")

    # An error of the connection ends the keep-alive silently; it shows in the writes of events too.
    async with beside(keep_alive(), name="keep-alive"):
        async for name, document in events:
            async with sending:
                await response.write(_encode(name, document))
    await response.write_eof()
    return response


async def _pause(connection: web.RequestHandler, keep_alive_s: float) -> None:
    if isinstance(connection, Connection) and not connection.half_closed.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(keep_alive_s):
                await connection.half_closed.wait()
        return
    # The caller may have gone, and only a write tells.
    await asyncio.sleep(min(keep_alive_s, PROBE_S))


def _encode(name: str | None, document: str) -> bytes:
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {document.translate(_LINE_ENDS)}\n\n".encode()


async def events_of_run(run: Run) -> AsyncIterator[tuple[str, str]]:
    """Yield the events of an execution as they happen."""
    yield _started(run.execution_id, run.plan_digest)
    async for token in run.tokens():
        yield "token", token.model_dump_json()
    try:
        view = await run.result()
    except StorageError as error:
        yield "error", problem_of(error, run.execution_id).model_dump_json(exclude_none=True)
    else:
        yield _closing_event(view, run.rest)


async def events_of_ended(view: RunView) -> AsyncIterator[tuple[str, str]]:
    """Yield the events of an execution that has ended; its text is in the last event."""
    yield _started(view.execution_id, view.plan_digest)
    yield _closing_event(view, view.output or "")


def _started(execution_id: str, plan_digest: str) -> tuple[str, str]:
    return "started", StreamStarted(execution_id=execution_id, plan_digest=plan_digest).model_dump_json()


def _closing_event(view: RunView, rest: str) -> tuple[str, str]:
    if view.status == "completed":
        return "done", StreamDone(**dict(view), rest=rest).model_dump_json()
    return "error", problem_of_run(view).model_dump_json(exclude_none=True)
