"""What stands before every route: the checks of Host and token, and the answers to errors."""

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from contracts.api.operation import Operation
from contracts.api.problem import Problem
from contracts.execution.run_request import RunRequest
from contracts.wire.errors import ContractError
from supervisor.api.context import CALLER, CONTEXT
from supervisor.api.openai.error_answers import answer_openai_error, is_openai
from supervisor.api.problems import answer_problem, problem_of, problem_of_parsing
from supervisor.api.request_reader import find_caller, host_is_local
from supervisor.domain.errors import EngineError

__all__ = ["guard", "permitted"]

_log = logging.getLogger(__name__)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check Host and token first, and turn every error into a document of the path's shape."""
    try:
        if not host_is_local(request.headers.get("Host", "")):
            detail = "the Host header must name this machine: 127.0.0.1 or localhost"
            return _answer(request, Problem.of("host_not_allowed", detail))
        context = request.app[CONTEXT]
        caller = find_caller(request.headers.get("Authorization"), context.callers)
        if caller is None:
            detail = "send the header 'Authorization: Bearer TOKEN'; the token is in the file `token` of WEOS_HOME"
            return _answer(request, Problem.of("unauthorized", detail))
        request[CALLER] = caller
        context.rates.take(caller, context.clock_ns())
        return await handler(request)
    except EngineError as error:
        again = None if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return _answer(request, problem_of(error), again)
    except ContractError as error:
        return _answer(request, problem_of_parsing(error))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
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
    operation: Operation, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler of an operation behind the permission that the operation demands."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request[CALLER].require(operation.permission)
        return await handler(request)

    return handle


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
