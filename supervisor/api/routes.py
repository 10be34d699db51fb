"""Routes of the local HTTP API. Every document in and out is a contract."""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiohttp import web

from contracts.api.openapi import OPERATIONS, RECORD_TYPE, build_openapi
from contracts.api.responses import (
    BackendList,
    BackendView,
    Health,
    ModelList,
    ModelView,
    PlanView,
    Readiness,
    RunView,
    TokenList,
    TokenView,
)
from contracts.execution.run_request import RunRequest
from contracts.wire.document import Contract
from contracts.wire.units import UJ_PER_J
from supervisor.api.context import CALLER, CONTEXT, ApiContext
from supervisor.api.event_stream import events_of_ended, events_of_run, stream_events
from supervisor.api.guard import guard, permitted
from supervisor.api.ledger_routes import LEDGER, LEDGER_HANDLERS, RELEASES
from supervisor.api.metrics_route import METRICS, METRICS_HANDLERS, build_registry
from supervisor.api.openai.routes import OPENAI_HANDLERS
from supervisor.api.problems import answer_problem, problem_of, problem_of_run
from supervisor.api.request_reader import (
    Query,
    read_document,
    read_execution_id,
    read_idempotency_key,
    wants_events,
    wants_no_wait,
)
from supervisor.domain.errors import StorageError

__all__ = ["HANDLERS", "build_app"]


def _answer(document: Contract, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=document.model_dump_json().encode("utf-8"),
        status=status,
        content_type="application/json",
        headers=headers,
    )


async def create_run(request: web.Request) -> web.StreamResponse:
    """POST /v1/runs."""
    context = request.app[CONTEXT]
    run_request = await read_document(request, RunRequest, context.body_timeout_s)
    key = read_idempotency_key(request)
    run = await context.book.accept(run_request, key, request[CALLER])
    if isinstance(run, RunView):
        return await _answer_repeated(request, run)
    if wants_no_wait(request):
        run.keep = True
        headers = {"Location": f"/v1/runs/{run.execution_id}", "Preference-Applied": "respond-async"}
        return _answer(run.view(), 202, headers)
    async with context.book.watch(run):
        if wants_events(request):
            return await stream_events(request, events_of_run(run), keep_alive_s=context.keep_alive_s)
        try:
            return _answer_ended(await run.result())
        except StorageError as error:
            return answer_problem(problem_of(error, run.execution_id))


def _answer_ended(view: RunView) -> web.Response:
    return _answer(view) if view.status == "completed" else answer_problem(problem_of_run(view))


async def _answer_repeated(request: web.Request, view: RunView) -> web.StreamResponse:
    if wants_events(request) and not wants_no_wait(request):
        return await stream_events(request, events_of_ended(view), keep_alive_s=request.app[CONTEXT].keep_alive_s)
    return _answer_ended(view)


async def list_runs(request: web.Request) -> web.StreamResponse:
    """GET /v1/runs."""
    query = Query(request, "listRuns")
    book = request.app[CONTEXT].book
    page = await book.page(request[CALLER], before=query.text("before"), limit=query.number("limit"))
    return _answer(page)


async def get_run(request: web.Request) -> web.StreamResponse:
    """GET /v1/runs/{execution_id}."""
    return _answer(await request.app[CONTEXT].book.find(read_execution_id(request), request[CALLER]))


async def cancel_run(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/runs/{execution_id}."""
    execution_id = read_execution_id(request)
    try:
        return _answer(await request.app[CONTEXT].book.cancel(execution_id, request[CALLER]))
    except StorageError as error:
        return answer_problem(problem_of(error, execution_id))


async def get_record(request: web.Request) -> web.StreamResponse:
    """GET /v1/runs/{execution_id}/record."""
    _, envelope = await request.app[CONTEXT].book.ended(read_execution_id(request), request[CALLER])
    return web.Response(body=envelope, content_type=RECORD_TYPE)


async def create_plan(request: web.Request) -> web.StreamResponse:
    """POST /v1/plans."""
    context = request.app[CONTEXT]
    plan = context.book.plan(await read_document(request, RunRequest, context.body_timeout_s), request[CALLER])
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
            mixture=model.mixture,
            chat_template=model.chat_template,
            signature=model.signature,
            parent=model.parent,
        )
        for model in models
    )
    return _answer(ModelList(models=views))


async def list_tokens(request: web.Request) -> web.StreamResponse:
    """GET /v1/tokens."""
    context = request.app[CONTEXT]
    views = []
    for token in context.callers.known():
        used = context.book.used_today(token.name)
        view = TokenView(
            name=token.name,
            role=token.role,
            created_at=token.created_at,
            last_used_on=token.last_used_on,
            revoked_at=token.revoked_at,
            tokens_today=used.tokens,
            joules_today=used.energy_uj // UJ_PER_J,
        )
        views.append(view)
    return _answer(TokenList(tokens=tuple(views)))


async def get_version(request: web.Request) -> web.StreamResponse:
    """GET /v1/version."""
    return _answer(request.app[CONTEXT].version)


async def get_challenge(request: web.Request) -> web.StreamResponse:
    """GET /v1/challenge."""
    nonce = Query(request, "getChallenge").text("nonce") or ""
    # Where this connection ends on our side; what the request says about it proves nothing.
    end = None if request.transport is None else request.transport.get_extra_info("sockname")
    address = f"{end[0]}:{end[1]}" if isinstance(end, tuple) else "unix"
    envelope = request.app[CONTEXT].recorder.seal_challenge(nonce, address, now=datetime.now(UTC))
    return web.Response(body=envelope, content_type=RECORD_TYPE, headers={"Cache-Control": "no-store"})


async def _is_engine_up(context: ApiContext) -> bool:
    try:
        async with asyncio.timeout(context.health_timeout_s):
            return await context.sandboxes.is_up()
    except TimeoutError:
        return False


async def get_health(request: web.Request) -> web.StreamResponse:
    """GET /healthz."""
    context = request.app[CONTEXT]
    up = await _is_engine_up(context)
    sound = up and context.service.unrecorded == 0
    health = Health(
        status="ok" if sound else "degraded",
        engine="up" if up else "down",
        unrecorded=context.service.unrecorded,
    )
    return _answer(health, 200 if sound else 503)


async def get_readiness(request: web.Request) -> web.StreamResponse:
    """GET /readyz."""
    context = request.app[CONTEXT]
    reason = context.service.start_obstacle
    if not await _is_engine_up(context):
        reason = "the container engine does not answer"
    elif context.service.unrecorded:
        reason = f"{context.service.unrecorded} ended executions wait for their record to be stored"
    readiness = Readiness(ready=reason is None, reason=reason)
    return _answer(readiness, 200 if readiness.ready else 503)


@functools.cache
def _encode_open_api() -> bytes:
    # Building it takes some 20 ms, which would delay every other request.
    return json.dumps(build_openapi(), sort_keys=True).encode("utf-8")


async def get_open_api(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json."""
    del request
    return web.Response(body=_encode_open_api(), content_type="application/json")


HANDLERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "createRun": create_run,
    "listRuns": list_runs,
    "getRun": get_run,
    "cancelRun": cancel_run,
    "getRecord": get_record,
    "createPlan": create_plan,
    "listBackends": list_backends,
    "listModels": list_models,
    "listTokens": list_tokens,
    "getVersion": get_version,
    "getChallenge": get_challenge,
    "getHealth": get_health,
    "getReadiness": get_readiness,
    "getOpenApi": get_open_api,
    **LEDGER_HANDLERS,
    **METRICS_HANDLERS,
    **OPENAI_HANDLERS,
}


def build_app(context: ApiContext) -> web.Application:
    """Return the application; every operation of `contracts.api` has exactly one handler."""
    app = web.Application(middlewares=[guard], client_max_size=RunRequest.MAX_BYTES)
    app[CONTEXT] = context
    app[LEDGER] = context.ledger
    app[METRICS] = build_registry(context.metrics)
    app[RELEASES] = context.releases
    for operation in OPERATIONS:
        handler = HANDLERS[operation.operation_id]
        if operation.permission is not None:
            handler = permitted(operation.permission, handler)
        app.router.add_route(operation.method, operation.path, handler)
        if operation.method == "GET":
            # RFC 9110, 9.1: where there is GET there is HEAD.
            app.router.add_route("HEAD", operation.path, handler)
    return app
