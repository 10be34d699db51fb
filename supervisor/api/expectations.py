"""`Expect: 100-continue` (RFC 9110, 10.1.1): the body is asked for only when it will be read.

aiohttp itself asks for it before a request is looked at, and so invites a body that it then refuses.
"""

from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http_writer import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy

__all__ = ["awaits_continue", "expectations_of", "keeping_expectations", "send_continue"]

_FIELD = "Expect"
_EXPECTATIONS: web.RequestKey[tuple[str, ...]] = web.RequestKey("expectations")
_CONTINUED: web.RequestKey[bool] = web.RequestKey("continued")


def keeping_expectations(make: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Return a factory of requests that keeps their expectations from aiohttp, which would meet them at once."""

    def make_request(message: Any, *arguments: Any) -> web.BaseRequest:  # noqa: ANN401 - aiohttp's own types
        # What is no request has no headers.
        expected = tuple(message.headers.getall(_FIELD, ())) if _FIELD in message.headers else ()
        if expected:
            rest = CIMultiDict(message.headers)
            del rest[_FIELD]
            message = message._replace(headers=CIMultiDictProxy(rest))
        request = make(message, *arguments)
        request[_EXPECTATIONS] = expected
        return request

    return make_request


def expectations_of(request: web.BaseRequest) -> tuple[str, ...]:
    """Return the values of a request's Expect header; HTTP/1.0 has none."""
    return request.get(_EXPECTATIONS, ()) if request.version >= HttpVersion11 else ()


def awaits_continue(request: web.BaseRequest) -> bool:
    """Return whether the caller may still wait to be asked for its body."""
    return bool(expectations_of(request)) and not request.get(_CONTINUED, False)


async def send_continue(request: web.BaseRequest) -> None:
    """Ask for the body, if the caller waits for that."""
    if awaits_continue(request):
        request[_CONTINUED] = True
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The answer itself has not begun.
        request.writer.output_size = 0
