"""The HTTP server under the API: what aiohttp would answer by itself becomes a problem document, and quotes nothing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from contracts.problem import Problem
from supervisor.http_problems import answer_problem

__all__ = ["ApiRunner"]

_log = logging.getLogger(__name__)

# An idle connection, or one whose head trickles in, is cut after this; aiohttp's default is an hour.
IDLE_S = 75.0
# A refused body is read and dropped this long, so that its sender sees the answer and not a reset.
LINGER_S = 5.0
# aiohttp's default, stated in the answer.
MAX_LINE_BYTES = 8190


class _Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ()

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
            problem = Problem.of("bad_header", f"the request line or a header has more than {MAX_LINE_BYTES} bytes")
        else:
            problem = Problem.of("bad_header", "these bytes are no HTTP/1.1 request (RFC 9112)")
        response = answer_problem(problem)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes connections."""

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


def _refusing(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPExpectationFailed:
            # Raised before routing ends, so that no middleware sees it.
            problem = Problem.of("bad_header", "the only expectation (Expect) that can be met is 100-continue")
            response = answer_problem(problem)
            response.force_close()
            return response

    return handle


class ApiRunner(web.AppRunner):
    """Serves the API's application; a caller that goes away cancels its handler."""

    def __init__(self, app: web.Application, *, shutdown_timeout_s: float = 60.0) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout_s)

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            _refusing(plain.request_handler),
            request_factory=plain.request_factory,
            handler_cancellation=True,
            loop=asyncio.get_running_loop(),
            access_log=None,
            logger=_log,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            # Compressed bodies are refused; without this they would be unpacked on their way to being dropped.
            auto_decompress=False,
        )
