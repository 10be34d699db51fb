"""Routes of the local HTTP API, and the way from an error to a status. Everything in and out is a contract."""

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.typedefs import Handler

from contracts.api import EXECUTION_ID, IDEMPOTENCY_KEY, OPERATIONS, RECORD_TYPE, build_openapi
from contracts.base import Contract, ContractError
from contracts.problem import Problem
from contracts.responses import (
    BackendList,
    BackendView,
    Health,
    ModelList,
    ModelView,
    PlanView,
    RunView,
    StreamStarted,
    VersionView,
)
from contracts.run_request import ExecutionRequest, RunRequest
from supervisor.domain.errors import EngineError, Refusal, StorageError
from supervisor.domain.ports import InstallationPort, SandboxPort
from supervisor.run import Run
from supervisor.run_book import RunBook
from supervisor.service import ExecutionService

__all__ = ["ApiContext", "build_app"]

_log = logging.getLogger(__name__)

# A silent connection is cut by some proxies and clients after 30 to 60 s.
KEEP_ALIVE_S = 15
# A body that trickles in holds a connection; an honest one of 1 MiB arrives in milliseconds on loopback.
BODY_TIMEOUT_S = 30
RETRY_AFTER_S = 5
MAX_PAGE = 200
ALLOWED_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
CONTEXT: web.AppKey["ApiContext"] = web.AppKey("context")
_EXECUTION_FIELDS = frozenset(ExecutionRequest.model_fields)
_PROBLEMS_OF_PARSING = {
    "malformed_json": "malformed_json",
    "too_large": "body_too_large",
    "out_of_range": "invalid_request",
    "schema_violation": "invalid_request",
}


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What the routes need."""

    token: str
    version: VersionView
    book: RunBook
    service: ExecutionService
    sandboxes: SandboxPort
    installation: InstallationPort


def _answer(document: Contract, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=document.model_dump_json().encode("utf-8"),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def _answer_problem(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    extra = dict(headers or {})
    if problem.code in {"queue_full", "engine_unavailable", "shutting_down", "storage_full"}:
        extra["Retry-After"] = str(RETRY_AFTER_S)
    if problem.code == "unauthorized":
        extra["WWW-Authenticate"] = 'Bearer realm="weos-engine"'
    return web.Response(
        body=problem.model_dump_json(exclude_none=True).encode("utf-8"),
        status=problem.status,
        content_type=problem.media_type,
        headers=extra,
    )


def _problem_of(error: EngineError, execution_id: str | None = None) -> Problem:
    return Problem.of(
        error.code, error.detail, errors=error.errors, available=error.available, execution_id=execution_id
    )


def _problem_of_parsing(error: ContractError) -> Problem:
    code = _PROBLEMS_OF_PARSING[error.code]
    hints = []
    for fault in error.errors:
        name = fault.field.removeprefix("/")
        if fault.code == "extra_forbidden" and name in _EXECUTION_FIELDS:
            fault = fault.model_copy(update={"message": f"belongs into the object execution: /execution/{name}"})  # noqa: PLW2901 - one fault, better said
        hints.append(fault)
    detail = "; ".join(f"{fault.field or 'the body'}: {fault.message}" for fault in hints)
    return Problem.of(code, detail, errors=tuple(hints))


def _problem_of_run(view: RunView) -> Problem:
    code = view.reason.code if view.reason is not None else "internal_error"
    detail = view.reason.message if view.reason is not None else "the execution did not complete"
    partial = view.model_dump(mode="json")
    return Problem.of(code, detail, execution_id=view.execution_id, partial=partial)


def _host_is_local(host: str) -> bool:
    name = re.sub(r":\d{1,5}$", "", host.lower())
    return name in ALLOWED_HOSTS


def _token_is_right(header: str | None, token: str) -> bool:
    scheme, _, given = (header or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check Host and token before anything else, and turn every error into a problem document."""
    try:
        if not _host_is_local(request.headers.get("Host", "")):
            detail = "name this machine in the Host header: 127.0.0.1 or localhost"
            return _answer_problem(Problem.of("host_not_allowed", detail))
        if not _token_is_right(request.headers.get("Authorization"), request.app[CONTEXT].token):
            detail = "send the header 'Authorization: Bearer TOKEN'; the token is in the file `token` of WEOS_HOME"
            return _answer_problem(Problem.of("unauthorized", detail))
        return await handler(request)
    except EngineError as error:
        return _answer_problem(_problem_of(error))
    except ContractError as error:
        return _answer_problem(_problem_of_parsing(error))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        problem = Problem.of("method_not_allowed", f"{request.method} is not one of: {allowed}")
        return _answer_problem(problem, {"Allow": allowed})
    except web.HTTPNotFound:
        return _answer_problem(Problem.of("not_found", "see /openapi.json for the paths that exist"))
    except web.HTTPRequestEntityTooLarge:
        detail = f"a request may have {RunRequest.MAX_BYTES} bytes"
        return _answer_problem(Problem.of("body_too_large", detail), {"Connection": "close"})
    except (web.HTTPException, BadHttpMessage) as error:
        return _answer_problem(Problem.of("bad_header", f"the request cannot be read: {type(error).__name__}"))
    except ConnectionError:
        raise
    except Exception:  # noqa: BLE001 - the boundary: no caller sees a traceback
        _log.exception("a request failed in the supervisor")
        return _answer_problem(Problem.of("internal_error", "the supervisor failed; its log says where"))


async def _read_run_request(request: web.Request) -> RunRequest:
    if request.content_type != "application/json":
        raise Refusal("unsupported_media_type", "send the request with 'Content-Type: application/json'")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refusal("unsupported_media_type", "send the body without Content-Encoding")
    if (request.content_length or 0) > RunRequest.MAX_BYTES:
        raise web.HTTPRequestEntityTooLarge(RunRequest.MAX_BYTES, request.content_length or 0)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError as error:
        raise Refusal("malformed_json", f"the body did not arrive within {BODY_TIMEOUT_S} s") from error
    return RunRequest.parse(body)


def _idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(IDEMPOTENCY_KEY.schema["pattern"], key):
        raise Refusal("bad_header", "an Idempotency-Key has 1 to 128 printable ASCII characters without spaces")
    return key


def _execution_id(request: web.Request) -> str:
    execution_id = request.match_info["execution_id"]
    if not re.fullmatch(EXECUTION_ID.schema["pattern"], execution_id):
        raise Refusal("bad_parameter", "an execution_id is 'exec_' and 32 hexadecimal digits", field="execution_id")
    return execution_id


async def create_run(request: web.Request) -> web.StreamResponse:
    """POST /v1/runs."""
    context = request.app[CONTEXT]
    run_request = await _read_run_request(request)
    key = _idempotency_key(request)
    asynchronous = any(part.strip().lower() == "respond-async" for part in request.headers.get("Prefer", "").split(","))
    accepted = await context.book.accept(run_request, key)
    if accepted.run is None:
        return _answer_ended(accepted.ended)
    run = accepted.run
    if asynchronous:
        run.keep = True
        headers = {"Location": f"/v1/runs/{run.execution_id}", "Preference-Applied": "respond-async"}
        return _answer(run.view(), 202, headers)
    async with context.book.watch(run):
        if "text/event-stream" in request.headers.get("Accept", ""):
            return await _stream(request, run)
        try:
            return _answer_ended(await run.result())
        except StorageError as error:
            return _answer_problem(_problem_of(error, run.execution_id))


def _answer_ended(view: RunView | None) -> web.Response:
    if view is None:
        return _answer_problem(Problem.of("internal_error", "the execution is not known any more"))
    return _answer(view) if view.status == "completed" else _answer_problem(_problem_of_run(view))


async def _stream(request: web.Request, run: Run) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
    )
    await response.prepare(request)
    sending = asyncio.Lock()

    async def send(name: str, document: str) -> None:
        async with sending:
            await response.write(f"event: {name}\ndata: {document}\n\n".encode())

    async def keep_alive() -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            async with sending:
                await response.write(b": waiting\n\n")

    beat = asyncio.create_task(keep_alive())
    try:
        started = StreamStarted(execution_id=run.execution_id, plan_digest=run.plan_digest)
        await send("started", started.model_dump_json())
        async for token in run.tokens():
            await send("token", token.model_dump_json())
        await send(*await _closing_event(run))
    finally:
        beat.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await beat
    await response.write_eof()
    return response


async def _closing_event(run: Run) -> tuple[str, str]:
    try:
        view = await run.result()
    except StorageError as error:
        return "error", _problem_of(error, run.execution_id).model_dump_json(exclude_none=True)
    if view.status == "completed":
        return "done", view.model_dump_json()
    return "error", _problem_of_run(view).model_dump_json(exclude_none=True)


async def list_runs(request: web.Request) -> web.StreamResponse:
    """GET /v1/runs."""
    unknown = set(request.query) - {"before", "limit"}
    if unknown:
        raise Refusal("bad_parameter", "only `before` and `limit` are known", field="query")
    limit = request.query.get("limit", "50")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise Refusal("bad_parameter", f"`limit` is a number from 1 to {MAX_PAGE}", field="limit")
    before = request.query.get("before")
    if before is not None and not re.fullmatch(EXECUTION_ID.schema["pattern"], before):
        raise Refusal("bad_parameter", "`before` is an execution_id", field="before")
    return _answer(await request.app[CONTEXT].book.page(before=before, limit=int(limit)))


async def get_run(request: web.Request) -> web.StreamResponse:
    """GET /v1/runs/{execution_id}."""
    return _answer(await request.app[CONTEXT].book.find(_execution_id(request)))


async def cancel_run(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/runs/{execution_id}."""
    return _answer(await request.app[CONTEXT].book.cancel(_execution_id(request)))


async def get_record(request: web.Request) -> web.StreamResponse:
    """GET /v1/runs/{execution_id}/record."""
    envelope = await request.app[CONTEXT].book.record(_execution_id(request))
    return web.Response(body=envelope, content_type=RECORD_TYPE)


async def create_plan(request: web.Request) -> web.StreamResponse:
    """POST /v1/plans."""
    plan = request.app[CONTEXT].book.plan(await _read_run_request(request))
    return _answer(PlanView(plan=plan, plan_digest=plan.canonical_digest()))


async def list_backends(request: web.Request) -> web.StreamResponse:
    """GET /v1/backends."""
    installation = request.app[CONTEXT].installation.read()
    views = []
    for backend in installation.backends:
        missing = tuple(sorted(backend.required_cpu_flags - installation.host.cpu_flags))
        view = BackendView(
            name=backend.name,
            installed=backend.image_id is not None,
            runnable=not missing,
            image=backend.image_id,
            missing_cpu_features=missing,
        )
        views.append(view)
    return _answer(BackendList(backends=tuple(views)))


async def list_models(request: web.Request) -> web.StreamResponse:
    """GET /v1/models."""
    models = request.app[CONTEXT].installation.read().models
    views = tuple(
        ModelView(
            name=model.name,
            quantization=model.quantization,
            architecture=model.architecture,
            context_length=model.context_length,
            sha256=model.sha256,
            size_bytes=model.size_bytes,
        )
        for model in models
    )
    return _answer(ModelList(models=views))


async def get_version(request: web.Request) -> web.StreamResponse:
    """GET /v1/version."""
    return _answer(request.app[CONTEXT].version)


async def get_health(request: web.Request) -> web.StreamResponse:
    """GET /healthz."""
    context = request.app[CONTEXT]
    up = await context.sandboxes.is_up()
    sound = up and context.service.unrecorded == 0
    health = Health(
        status="ok" if sound else "degraded",
        engine="up" if up else "down",
        unrecorded=context.service.unrecorded,
    )
    return _answer(health, 200 if sound else 503)


async def get_open_api(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json."""
    del request
    return web.json_response(build_openapi(), dumps=lambda value: json.dumps(value, sort_keys=True))


HANDLERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "createRun": create_run,
    "listRuns": list_runs,
    "getRun": get_run,
    "cancelRun": cancel_run,
    "getRecord": get_record,
    "createPlan": create_plan,
    "listBackends": list_backends,
    "listModels": list_models,
    "getVersion": get_version,
    "getHealth": get_health,
    "getOpenApi": get_open_api,
}


def build_app(context: ApiContext) -> web.Application:
    """Return the application; every operation of `contracts.api` has exactly one handler."""
    app = web.Application(middlewares=[_guard], client_max_size=RunRequest.MAX_BYTES)
    app[CONTEXT] = context
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, HANDLERS[operation.operation_id])
    return app
