"""From a request in OpenAI's shape to a Run Request. Pure."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from contracts.api.openai.chat_request import ChatCompletionRequest
from contracts.api.openai.completion_request import CompletionRequest
from contracts.api.openai.shared_request import SharedRequest
from contracts.execution.run_request import ExecutionRequest, LimitsRequest, Message, RunRequest, Sampling
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.installation import Installation, InstalledModel
from supervisor.domain.planning.open_choices import Room, choose_backend, choose_room, find_model

__all__ = ["translate_chat", "translate_completion"]

# Where the request leaves them out: the defaults of OpenAI's API. The seed is ours, so that answers repeat.
TEMPERATURE = 1.0
COMPLETION_TOKENS = 16
# A token of a text has at least one byte. Beside the text stand the token that begins a prompt, and what a chat
# template writes: around each message, and once (a turn of its own, where the conversation has no system message).
BEGIN_TOKENS = 2
TEMPLATE_TOKENS = 256
TEMPLATE_TOKENS_PER_MESSAGE = 16

_T = TypeVar("_T")


def translate_chat(asked: ChatCompletionRequest, installation: Installation) -> RunRequest:
    """Return the Run Request of a chat.

    Raises:
        Refusal: no installed model or backend fits, or the request is too large.
    """
    model = find_model(asked.model, installation.models)
    messages = tuple(
        Message(role="system" if each.role == "developer" else each.role, content=each.text) for each in asked.messages
    )
    size = sum(len(each.content.encode("utf-8")) for each in messages)
    most = size + len(messages) * TEMPLATE_TOKENS_PER_MESSAGE + TEMPLATE_TOKENS
    limit = asked.max_completion_tokens or asked.max_tokens
    room = _room(asked.limit_name, limit, most, model, installation)
    schema = None if asked.response_format is None else asked.response_format.schema_of_answer
    execution = _valid("/execution/json_schema", lambda: _execution(asked, model, room, installation, schema=schema))
    return _valid("/messages", lambda: RunRequest(model=model.name, messages=messages, execution=execution))


def translate_completion(asked: CompletionRequest, installation: Installation) -> RunRequest:
    """Return the Run Request of a completion.

    Raises:
        Refusal: no installed model or backend fits, or the request is too large.
    """
    model = find_model(asked.model, installation.models)
    most = len(asked.text.encode("utf-8")) + BEGIN_TOKENS
    room = _room("max_tokens", asked.max_tokens or COMPLETION_TOKENS, most, model, installation)
    execution = _execution(asked, model, room, installation, prompt_format="raw")
    return _valid("/prompt", lambda: RunRequest(model=model.name, prompt=asked.text, execution=execution))


def _room(
    limit_name: str, limit: int | None, prompt_tokens_most: int, model: InstalledModel, installation: Installation
) -> Room:
    policy = installation.policies.admission.limits
    # A prompt has at least one token.
    most = min(policy.max_tokens, min(policy.context_tokens_max, model.context_length) - 1)
    if limit is not None and limit > most:
        detail = f"this model generates at most {most} tokens in this installation"
        raise Refusal("limit_out_of_range", detail, field=f"/{limit_name}")
    return choose_room(limit, prompt_tokens_most, policy, model.context_length)


def _execution(
    asked: SharedRequest,
    model: InstalledModel,
    room: Room,
    installation: Installation,
    *,
    schema: dict[str, Any] | None = None,
    prompt_format: Literal["auto", "raw"] = "auto",
) -> ExecutionRequest:
    default = min(installation.policies.admission.limits.context_tokens_default, model.context_length)
    return ExecutionRequest(
        backend=choose_backend(installation),
        quantization=model.quantization,
        limits=LimitsRequest(max_tokens=room.max_tokens),
        context_tokens=None if room.context_tokens == default else room.context_tokens,
        seed=asked.seed or 0,
        sampling=_sampling(asked),
        stop=asked.stops,
        prompt_format=prompt_format,
        json_schema=schema,
    )


def _sampling(asked: SharedRequest) -> Sampling:
    temperature = TEMPERATURE if asked.temperature is None else asked.temperature
    top_p = 1.0 if asked.top_p is None else asked.top_p
    # Among the fewest tokens that add up to nothing there is the most probable one alone, as at temperature 0. There,
    # top_p changes nothing.
    if temperature == 0 or top_p == 0:
        return Sampling()
    return Sampling(temperature=temperature, top_p=top_p)


def _valid(field: str, build: Callable[[], _T]) -> _T:
    """Return what `build` returns; only sizes that the shape of the request does not bound can be at fault.

    Raises:
        Refusal: ``invalid_request``.
    """
    try:
        return build()
    except ValidationError as error:
        raise Refusal("invalid_request", error.errors()[0]["msg"], field=field) from None
