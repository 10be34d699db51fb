"""The HTTP server under the API: answers of aiohttp's own become problem documents that quote nothing."""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable

from aiohttp import web

from supervisor.api.connection import HEAD_S, MAX_FIELD_BYTES, MAX_LINE_BYTES, STALL_S, Connection
from supervisor.api.expectations import awaits_continue, keeping_expectations

__all__ = ["BACKLOG", "ApiRunner"]

_log = logging.getLogger(__name__)

# An idle connection, or one whose head trickles in, is cut after this; aiohttp's default is an hour.
IDLE_S = 75.0
# How long a refused body is read and dropped, so that its sender sees the answer instead of a reset.
LINGER_S = 5.0
MAX_HEADERS = 64
# Connections at once, and at most this part of the process's descriptors: executions, the ledger and the container
# engine need the others. Anyone on this machine can connect; when all are taken, the longest idle one is closed.
CONNECTIONS_MAX = 256
DESCRIPTORS_SHARE = 4
# Connections accepted at once, before a surplus one can be closed; asyncio's default is 100.
BACKLOG = 64


class _Server(web.Server):
    """Creates connections, and closes old ones in favour of new ones."""

    connections_max = CONNECTIONS_MAX
    stall_s = STALL_S
    head_s = HEAD_S

    def __call__(self) -> web.RequestHandler:
        connection = Connection(self, loop=self._loop, **self._kwargs)
        connection.stall_s = self.stall_s
        connection.head_s = self.head_s
        return connection

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Add a connection; where that is one too many, close the oldest idle one, strangers' first."""
        super().connection_made(handler, transport)
        held = [each for each in self.connections if isinstance(each, Connection) and not each.ending]
        if len(held) > self.connections_max:
            *before, newest = held
            idle = [each for each in before if not each.busy]
            next((each for each in idle if not each.is_known), (idle or [newest])[0]).abort()


def _watching(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.begin(request)
        try:
            response = await handler(request)
            # Where the body may come or not, nothing after it on this connection can be told from it.
            if awaits_continue(request) or (isinstance(connection, Connection) and connection.is_at_last):
                response.force_close()
            return response
        finally:
            if isinstance(connection, Connection):
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
        head_s: float = HEAD_S,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout_s)
        self.connections_max = min(connections_max, _descriptors_for_connections())
        self._stall_s = stall_s
        self._head_s = head_s

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
        server.head_s = self._head_s
        return server
