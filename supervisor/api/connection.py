"""One connection of the HTTP server: when it is cut off, and when its caller is taken for gone."""

import asyncio
import logging
import select
import socket

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_writer import HttpVersion11

from contracts.api.problem import Problem
from supervisor.api.problems import answer_problem

__all__ = ["HEAD_S", "INTERIM", "MAX_FIELD_BYTES", "MAX_LINE_BYTES", "PROBE_S", "STALL_S", "Connection"]

_log = logging.getLogger(__name__)

# Request line, and each header; an agent sends some 200 bytes in ten headers. The head of an unauthenticated request is
# kept in memory, so strangers can occupy these bounds times CONNECTIONS_MAX: 64 MiB.
MAX_LINE_BYTES = 8190
MAX_FIELD_BYTES = 4096
# A client that does not read its answer is cut off after this: the answer, or a stream's text, stays in memory for it.
STALL_S = 60.0
# A new connection must say its first head within this; an honest caller sends it at once.
HEAD_S = 10.0
# How soon and how often the end of a connection is looked for whose caller has ended its sending half.
LOOK_S = 0.25
# How often something is written on it meanwhile: only a write tells over TCP that the other end has gone. Clients must
# be able to read any number of these (RFC 9110, 15.2), and http.client of Python knows no other interim answer.
PROBE_S = 5.0
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(web.RequestHandler):
    """One connection.

    A caller that ends its sending half after a whole request gets its answer (RFC 9112, 9.6). It is taken for gone when
    the kernel says so: at once for a reset, and for a closed Unix socket within `LOOK_S`. Over TCP a closed connection
    looks like one of which only a half was ended, until something is written: an interim answer or a part of a stream.
    """

    busy = False
    ending = False
    is_known = False
    """Whether a token was shown on it."""
    half_closed: asyncio.Event
    """Set when the caller has ended its sending half."""
    stall_s = STALL_S
    head_s = HEAD_S
    _descriptor: asyncio.BaseTransport | None = None
    _stall: asyncio.TimerHandle | None = None
    _look: asyncio.TimerHandle | None = None
    _first_head: asyncio.TimerHandle | None = None
    _looks = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.half_closed = asyncio.Event()
        # aiohttp forgets the transport when it asks it to close, but with an unread answer it never closes.
        self._descriptor = transport
        super().connection_made(transport)
        self._first_head = self._loop.call_later(self.head_s, self._require_head)

    def _require_head(self) -> None:
        if self._request_count == 0:
            self.abort()

    def begin(self, request: web.BaseRequest) -> None:
        """Begin a request."""
        self.busy = True
        if self.half_closed.is_set():
            _end_body(request.content)
            if self.is_at_last:
                self.close()

    @property
    def is_at_last(self) -> bool:
        """Whether no request can come after the one in progress, because the caller has ended its half."""
        return self.half_closed.is_set() and not self._messages

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's contract; aiohttp always closes
        """Keep the connection while an answer is due."""
        is_idle = self._request_count == 0 or (self._waiter is not None and not self._waiter.done())
        if is_idle and not self._messages:
            return False
        self.half_closed.set()
        if self._current_request is not None:
            _end_body(self._current_request.content)
        if self.is_at_last:
            self.close()
        self._look = self._loop.call_later(LOOK_S, self._look_for_end)
        return True

    def _look_for_end(self) -> None:
        transport = self._descriptor
        if not isinstance(transport, asyncio.Transport) or transport.is_closing():
            return
        connected = transport.get_extra_info("socket")
        poller = select.poll()
        poller.register(connected.fileno(), 0)
        if poller.poll(0):
            self.abort()
            return
        request = self._current_request
        is_due = connected.family != socket.AF_UNIX and self._looks % round(PROBE_S / LOOK_S) == 0
        if is_due and request is not None and request.version >= HttpVersion11 and request.writer.output_size == 0:
            transport.write(INTERIM)
        self._looks += 1
        self._look = self._loop.call_later(LOOK_S, self._look_for_end)

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
        """Cancel the timers."""
        self._end_stall()
        for timer in (self._look, self._first_head):
            if timer is not None:
                timer.cancel()
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


def _end_body(payload: StreamReader) -> None:
    if not payload.is_eof():
        payload.set_exception(web.RequestPayloadError("the caller ended its half within the body"))
