"""Routes in OpenAI's shape: a thin translation to a Run Request and back."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from aiohttp import web

from contracts.api.openai.answers import OpenAiModel, OpenAiModelList
from contracts.api.openai.chat_request import ChatCompletionRequest
from contracts.api.openai.completion_request import CompletionRequest
from contracts.api.openai.errors import error_of
from contracts.api.openai.operations import EXECUTION_HEADER, STREAM_END
from contracts.api.openai.shared_request import SharedRequest
from contracts.api.openapi import RECORD_TYPE
from contracts.api.problem import Problem
from contracts.api.responses import RunView
from contracts.execution.run_request import RunRequest
from contracts.wire.document import Contract
from supervisor.api.context import CALLER, CONTEXT
from supervisor.api.event_stream import stream_events
from supervisor.api.openai.error_answers import answer_openai_error
from supervisor.api.openai.shapes import ChatShape, CompletionShape, Head, Shape
from supervisor.api.openai.translation import translate_chat, translate_completion
from supervisor.api.problems import problem_of, problem_of_run
from supervisor.api.request_reader import read_document, read_idempotency_key
from supervisor.domain.errors import StorageError
from supervisor.domain.planning.installation import InstalledModel
from supervisor.domain.planning.open_choices import find_model, model_id
from supervisor.execution.run import Run

__all__ = ["OPENAI_HANDLERS"]


async def create_chat_completion(request: web.Request) -> web.StreamResponse:
    """POST /openai/v1/chat/completions."""
    context = request.app[CONTEXT]
    asked = await read_document(request, ChatCompletionRequest, context.body_timeout_s)
    return await _execute(request, asked, translate_chat(asked, context.installation.read()), ChatShape)


async def create_completion(request: web.Request) -> web.StreamResponse:
    """POST /openai/v1/completions."""
    context = request.app[CONTEXT]
    asked = await read_document(request, CompletionRequest, context.body_timeout_s)
    return await _execute(request, asked, translate_completion(asked, context.installation.read()), CompletionShape)


async def list_openai_models(request: web.Request) -> web.StreamResponse:
    """GET /openai/v1/models."""
    models = request.app[CONTEXT].installation.read().models
    return _answer(OpenAiModelList(object="list", data=tuple(map(_model, models))))


async def get_openai_model(request: web.Request) -> web.StreamResponse:
    """GET /openai/v1/models/{model}."""
    models = request.app[CONTEXT].installation.read().models
    return _answer(_model(find_model(request.match_info["model"], models)))


async def _execute(
    request: web.Request,
    asked: SharedRequest,
    run_request: RunRequest,
    shape_of: type[ChatShape] | type[CompletionShape],
) -> web.StreamResponse:
    context = request.app[CONTEXT]
    run = await context.book.accept(run_request, read_idempotency_key(request), request[CALLER])
    view = run if isinstance(run, RunView) else run.view()
    model = f"{view.model}:{run_request.execution.quantization}"
    head = Head(view.execution_id, view.accepted_at, model, view.engine_version)
    shape = shape_of(head, wants_usage=asked.wants_usage)
    headers = _headers_of(view.execution_id)
    if isinstance(run, RunView):
        if asked.stream:
            events = _events_of_ended(run, shape)
            return await stream_events(request, events, keep_alive_s=context.keep_alive_s, headers=headers)
        return _answer_ended(run, shape, headers)
    async with context.book.watch(run):
        if asked.stream:
            events = _events_of_run(run, shape)
            return await stream_events(request, events, keep_alive_s=context.keep_alive_s, headers=headers)
        try:
            return _answer_ended(await run.result(), shape, headers)
        except StorageError as error:
            return answer_openai_error(problem_of(error, run.execution_id), headers)


def _model(model: InstalledModel) -> OpenAiModel:
    return OpenAiModel(id=model_id(model), object="model", created=0, owned_by="weos-engine")


def _headers_of(execution_id: str) -> dict[str, str]:
    link = f'</v1/runs/{execution_id}/record>; rel="describedby"; type="{RECORD_TYPE}"'
    return {EXECUTION_HEADER: execution_id, "Link": link}


def _answer(document: Contract, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=_encode(document).encode("utf-8"), content_type="application/json", headers=headers)


def _encode(document: Contract) -> str:
    return document.model_dump_json(exclude_unset=True)


def _answer_ended(view: RunView, shape: Shape, headers: dict[str, str]) -> web.Response:
    if view.status == "completed":
        return _answer(shape.answer(view), headers)
    return answer_openai_error(problem_of_run(view), headers)


async def _events_of_run(run: Run, shape: Shape) -> AsyncIterator[tuple[str | None, str]]:
    """Yield the events of an execution as they happen."""
    for chunk in shape.opening():
        yield None, _encode(chunk)
    async for token in run.tokens():
        if token.text:
            yield None, _encode(shape.piece(token.text))
    try:
        view = await run.result()
    except StorageError as error:
        yield _error_event(problem_of(error, run.execution_id))
    else:
        for event in _closing_events(view, shape, run.rest):
            yield event


async def _events_of_ended(view: RunView, shape: Shape) -> AsyncIterator[tuple[str | None, str]]:
    """Yield the events of an execution that has ended; its text is in one chunk."""
    for chunk in shape.opening():
        yield None, _encode(chunk)
    for event in _closing_events(view, shape, view.output or ""):
        yield event


def _closing_events(view: RunView, shape: Shape, rest: str) -> Iterator[tuple[str | None, str]]:
    if view.status != "completed":
        yield _error_event(problem_of_run(view))
        return
    if rest:
        yield None, _encode(shape.piece(rest))
    for chunk in shape.ending(view):
        yield None, _encode(chunk)
    yield None, STREAM_END


def _error_event(problem: Problem) -> tuple[str, str]:
    return "error", error_of(problem).model_dump_json()


OPENAI_HANDLERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "createChatCompletion": create_chat_completion,
    "createCompletion": create_completion,
    "getOpenAiModel": get_openai_model,
    "listOpenAiModels": list_openai_models,
}
