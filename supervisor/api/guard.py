"""What stands before every route: the checks of head and token, and the answers to errors."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from contracts.api.openapi import OPERATIONS
from contracts.api.problem import Problem
from contracts.execution.run_request import RunRequest
from contracts.wire.errors import ContractError
from contracts.wire.types import Permission
from supervisor.api.connection import Connection
from supervisor.api.context import CALLER, CONTEXT
from supervisor.api.expectations import expectations_of
from supervisor.api.head import Head, judge_head
from supervisor.api.openai.error_answers import answer_openai_error, is_openai
from supervisor.api.problems import answer_problem, problem_of, problem_of_parsing
from supervisor.api.request_reader import find_caller
from supervisor.domain.access.caller import Caller
from supervisor.domain.errors import EngineError

__all__ = ["guard", "permitted"]

_log = logging.getLogger(__name__)

_PUBLIC = {operation.path for operation in OPERATIONS if operation.permission is None}


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check head and token first, and turn every error into a document of the path's shape."""
    try:
        problem = judge_head(_head_of(request))
        if problem is not None:
            response = _answer(request, problem)
            # Where its body ends may be uncertain.
            response.force_close()
            return response
        if _is_public(request):
            return await handler(request)
        context = request.app[CONTEXT]
        caller = find_caller(request.headers.get("Authorization"), context.callers)
        if caller is None:
            detail = "send the header 'Authorization: Bearer TOKEN'; the token is in the file `token` of WEOS_HOME"
            response = _answer(request, Problem.of("unauthorized", detail))
            # A stranger gets one answer a connection: what it sent behind the first request costs nothing more.
            response.force_close()
            return response
        _remember(request, caller)
        context.rates.take(caller, context.clock_ns())
        if request.method == "OPTIONS" and request.raw_path == "*":
            # RFC 9110, 9.3.7: the question is about the server as a whole.
            return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Allow": _list_methods(request.app)})
        return await handler(request)
    except EngineError as error:
        again = None if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return _answer(request, problem_of(error), again)
    except ContractError as error:
        return _answer(request, problem_of_parsing(error))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))
        if request.method == "OPTIONS":
            return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Allow": allowed})
        problem = Problem.of("method_not_allowed", f"{request.method} is not one of: {allowed}")
        return _answer(request, problem, {"Allow": allowed})
    except web.HTTPNotFound:
        return _answer(request, Problem.of("not_found", "/openapi.json lists the paths that exist"))
    except web.HTTPRequestEntityTooLarge:
        detail = f"a request may have at most {RunRequest.MAX_BYTES} bytes"
        response = _answer(request, Problem.of("body_too_large", detail))
        response.force_close()
        return response
    except Exception as error:  # noqa: BLE001 - the boundary: no caller sees a traceback
        return _answer_fault(request, error)


def permitted(
    permission: Permission, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that demands a permission first."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request[CALLER].require(permission)
        return await handler(request)

    return handle


def _remember(request: web.Request, caller: Caller) -> None:
    request[CALLER] = caller
    if isinstance(request.protocol, Connection):
        request.protocol.is_known = True


def _is_public(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in _PUBLIC and request.method in {"GET", "HEAD"}


def _head_of(request: web.Request) -> Head:
    headers = request.headers
    return Head(
        method=request.method,
        target=request.raw_path,
        version=(request.version.major, request.version.minor),
        hosts=headers.getall("Host", []),
        authorizations=headers.getall("Authorization", []),
        codings=headers.getall("Transfer-Encoding", []),
        expectations=expectations_of(request),
    )


def _list_methods(app: web.Application) -> str:
    return ", ".join(sorted({route.method for route in app.router.routes()} | {"OPTIONS"}))


def _answer(request: web.Request, problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    answer = answer_openai_error if is_openai(request.path) else answer_problem
    return answer(problem, headers)


def _answer_fault(request: web.Request, error: Exception) -> web.Response:
    transport = request.transport
    if isinstance(error, ConnectionError) and (transport is None or transport.is_closing()):
        raise error
    _log.error("a request failed in the supervisor", exc_info=error)
    if request.writer.output_size > 0:
        raise ConnectionResetError("the answer had already begun, so the connection is cut") from error
    return _answer(request, Problem.of("internal_error", "the supervisor failed; see its log"))
