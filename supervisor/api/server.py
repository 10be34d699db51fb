"""The HTTP server under the API: what aiohttp would answer by itself becomes a problem document, and quotes nothing."""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from contracts.api.problem import Problem
from supervisor.api.problems import answer_problem

__all__ = ["BACKLOG", "ApiRunner"]

_log = logging.getLogger(__name__)

# An idle connection, or one whose head trickles in, is cut after this; aiohttp's default is an hour.
IDLE_S = 75.0
# A refused body is read and dropped this long, so that its sender sees the answer and not a reset.
LINGER_S = 5.0
# Request line, and each header; what an agent sends has some 200 bytes in ten headers. The head of a request whose
# sender nobody knows yet is kept in memory, so its bounds times CONNECTIONS_MAX is what strangers can take: 64 MiB.
MAX_LINE_BYTES = 8190
MAX_FIELD_BYTES = 4096
MAX_HEADERS = 64
# Connections at once, and no more than this part of the process's descriptors: executions, the ledger and the container
# engine need theirs. Anyone on this machine can connect; when there is no room the one that has waited longest goes.
CONNECTIONS_MAX = 256
DESCRIPTORS_SHARE = 4
# So many are accepted at once, before one too many can be ended; asyncio's default is 100.
BACKLOG = 64
# A caller that does not read its answer is cut off after this: it holds the answer, and a stream its execution's text.
STALL_S = 60.0


class _Connection(web.RequestHandler):
    """One connection."""

    busy = False
    ending = False
    stall_s = STALL_S
    _descriptor: asyncio.BaseTransport | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # aiohttp forgets its own transport when it asks it to close, which one with an unread answer never does.
        self._descriptor = transport
        super().connection_made(transport)

    def abort(self) -> None:
        """Close now; closing in the ordinary way waits for a peer that does not read."""
        self.ending = True
        if isinstance(self._descriptor, asyncio.Transport):
            self._descriptor.abort()

    def pause_writing(self) -> None:
        """Begin to wait for a peer that does not read."""
        super().pause_writing()
        self._stall = self._loop.call_later(self.stall_s, self.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._end_stall()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
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
        """Answer what is no HTTP, or a failure outside every handler.

        aiohttp's own answer and log quote the faulty line, which may be the one with the token.
        """
        del message
        kind = type(exc).__name__
        if request.writer.output_size > 0:
            what = f"an answer had begun when it failed: {kind}"
            raise ConnectionError(what)
        if status >= web.HTTPInternalServerError.status_code:
            _log.error("a request failed outside every handler: %s", kind)
            problem = Problem.of("internal_error", "the supervisor failed; its log says where")
        elif isinstance(exc, LineTooLong):
            most = f"the request line may have {MAX_LINE_BYTES} bytes, a header {MAX_FIELD_BYTES}"
            problem = Problem.of("bad_header", most)
        else:
            problem = Problem.of("bad_header", "these bytes are no HTTP/1.1 request (RFC 9112)")
        response = answer_problem(problem)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes connections, and makes room for the newest."""

    connections_max = CONNECTIONS_MAX
    stall_s = STALL_S

    def __call__(self) -> web.RequestHandler:
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        connection.stall_s = self.stall_s
        return connection

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Note a connection; where it is one too many, end the oldest that no request is being handled for."""
        super().connection_made(handler, transport)
        held = [each for each in self.connections if isinstance(each, _Connection) and not each.ending]
        if len(held) > self.connections_max:
            next((each for each in held if not each.busy), held[-1]).abort()


def _refusing(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, _Connection):
            connection.busy = True
        try:
            return await handler(request)
        except web.HTTPExpectationFailed:
            # Raised before routing ends, so that no middleware sees it.
            problem = Problem.of("bad_header", "the only expectation (Expect) that can be met is 100-continue")
            response = answer_problem(problem)
            response.force_close()
            return response
        finally:
            if isinstance(connection, _Connection):
                connection.busy = False

    return handle


def _descriptors_for_connections() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // DESCRIPTORS_SHARE


class ApiRunner(web.AppRunner):
    """Serves the API's application; a caller that goes away cancels its handler."""

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
            _refusing(plain.request_handler),
            request_factory=plain.request_factory,
            handler_cancellation=True,
            loop=asyncio.get_running_loop(),
            access_log=None,
            logger=_log,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            # Compressed bodies are refused; without this they would be unpacked on their way to being dropped.
            auto_decompress=False,
        )
        server.connections_max = self.connections_max
        server.stall_s = self._stall_s
        return server
