"""The HTTP server under the API: answers of aiohttp's own become problem documents that quote nothing."""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from contracts.api.problem import Problem
from supervisor.api.expectations import awaits_continue, keeping_expectations
from supervisor.api.problems import answer_problem

__all__ = ["BACKLOG", "ApiRunner"]

_log = logging.getLogger(__name__)

# An idle connection, or one whose head trickles in, is cut after this; aiohttp's default is an hour.
IDLE_S = 75.0
# How long a refused body is read and dropped, so that its sender sees the answer instead of a reset.
LINGER_S = 5.0
# Request line, and each header; an agent sends some 200 bytes in ten headers. The head of an unauthenticated request is
# kept in memory, so strangers can occupy these bounds times CONNECTIONS_MAX: 64 MiB.
MAX_LINE_BYTES = 8190
MAX_FIELD_BYTES = 4096
MAX_HEADERS = 64
# Connections at once, and at most this part of the process's descriptors: executions, the ledger and the container
# engine need the others. Anyone on this machine can connect; when all are taken, the longest idle one is closed.
CONNECTIONS_MAX = 256
DESCRIPTORS_SHARE = 4
# Connections accepted at once, before a surplus one can be closed; asyncio's default is 100.
BACKLOG = 64
# A client that does not read its answer is cut off after this: the answer, or a stream's text, stays in memory for it.
STALL_S = 60.0


class _Connection(web.RequestHandler):
    """One connection."""

    busy = False
    ending = False
    stall_s = STALL_S
    _descriptor: asyncio.BaseTransport | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        # aiohttp forgets the transport when it asks it to close, but with an unread answer it never closes.
        self._descriptor = transport
        super().connection_made(transport)

    def abort(self) -> None:
        """Close now; an ordinary close waits for a peer that does not read."""
        self.ending = True
        if isinstance(self._descriptor, asyncio.Transport):
            self._descriptor.abort()

    def pause_writing(self) -> None:
        """Start the stall timer."""
        super().pause_writing()
        self._stall = self._loop.call_later(self.stall_s, self.abort)

    def resume_writing(self) -> None:
        """Stop the stall timer."""
        self._end_stall()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the stall timer."""
        self._end_stall()
        super().connection_lost(exc)

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that are not HTTP, or a failure outside every handler.

        aiohttp's own answer and log quote the faulty line, which may contain the token.
        """
        del message
        kind = type(exc).__name__
        if request.writer.output_size > 0:
            what = f"an answer had begun when it failed: {kind}"
            raise ConnectionError(what)
        if status >= web.HTTPInternalServerError.status_code:
            _log.error("a request failed outside every handler: %s", kind)
            problem = Problem.of("internal_error", "the supervisor failed; see its log")
        elif isinstance(exc, LineTooLong):
            most = f"the request line may have at most {MAX_LINE_BYTES} bytes, a header {MAX_FIELD_BYTES}"
            problem = Problem.of("bad_header", most)
        else:
            problem = Problem.of("bad_header", "these bytes are not an HTTP/1.1 request (RFC 9112)")
        response = answer_problem(problem)
        response.force_close()
        return response


class _Server(web.Server):
    """Creates connections, and closes old ones in favour of new ones."""

    connections_max = CONNECTIONS_MAX
    stall_s = STALL_S

    def __call__(self) -> web.RequestHandler:
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        connection.stall_s = self.stall_s
        return connection

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Add a connection; where that is one too many, close the oldest idle one."""
        super().connection_made(handler, transport)
        held = [each for each in self.connections if isinstance(each, _Connection) and not each.ending]
        if len(held) > self.connections_max:
            next((each for each in held if not each.busy), held[-1]).abort()


def _watching(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, _Connection):
            connection.busy = True
        try:
            response = await handler(request)
            if awaits_continue(request):
                # Its body may come or not, so that nothing after it on this connection can be told from it.
                response.force_close()
            return response
        finally:
            if isinstance(connection, _Connection):
                connection.busy = False

    return handle


def _descriptors_for_connections() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // DESCRIPTORS_SHARE


class ApiRunner(web.AppRunner):
    """Serves the application of the API; a client that disconnects cancels its handler."""

    def __init__(
        self,
        app: web.Application,
        *,
        shutdown_timeout_s: float = 60.0,
        connections_max: int = CONNECTIONS_MAX,
        stall_s: float = STALL_S,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout_s)
        self.connections_max = min(connections_max, _descriptors_for_connections())
        self._stall_s = stall_s

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        server = _Server(
            _watching(plain.request_handler),
            request_factory=keeping_expectations(plain.request_factory),
            handler_cancellation=True,
            loop=asyncio.get_running_loop(),
            access_log=None,
            logger=_log,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            # Compressed bodies are refused; without this aiohttp would unpack them before they are dropped.
            auto_decompress=False,
        )
        server.connections_max = self.connections_max
        server.stall_s = self._stall_s
        return server
