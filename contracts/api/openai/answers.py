"""The answers in OpenAI's shape. A field that does not apply is left out, unless its text says that it is null."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.wire.document import Contract, Many
from contracts.wire.types import Count, EngineVersion, ExecutionId

__all__ = [
    "ChatAnswer",
    "ChatChoice",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatDelta",
    "ChunkChoice",
    "Completion",
    "FinishWord",
    "OpenAiModel",
    "OpenAiModelList",
    "TextChoice",
    "Usage",
]

FinishWord = Literal["length", "stop"]


class Usage(Contract):
    """How many tokens an execution computed, as its signed record has them."""

    prompt_tokens: Count
    """Number of tokens in the prompt, those of the chat template included."""
    completion_tokens: Count
    """Number of generated tokens, without the token that ends an answer."""
    total_tokens: Count
    """The sum of both."""


class _Head(Contract):
    """What every answer and every chunk begins with."""

    id: ExecutionId
    """Identifier of the execution, as in `GET /v1/runs/{execution_id}`."""
    created: Count
    """Time of acceptance: seconds since 1970, UTC."""
    model: str
    """What was executed, as `NAME:QUANTIZATION`."""
    system_fingerprint: EngineVersion
    """The version of the engine."""
    service_tier: Literal["default"]
    """The only tier."""


class ChatAnswer(Contract):
    """The model's turn."""

    role: Literal["assistant"]
    """Who speaks."""
    content: str | None
    """What is said; null: no longer stored."""
    refusal: None
    """Always null."""


class ChatChoice(Contract):
    """The one answer of a chat."""

    index: Literal[0]
    """Always 0."""
    message: ChatAnswer
    """The model's turn."""
    logprobs: None
    """Always null."""
    finish_reason: FinishWord
    """`length`: the maximum number of tokens was reached. `stop`: the model ended its answer, or a text of `stop`
    occurred."""


class ChatCompletion(_Head):
    """The answer of a chat, in one piece."""

    object: Literal["chat.completion"]
    """Kind of document."""
    choices: Annotated[Many[ChatChoice], Field(min_length=1, max_length=1)]
    """The one answer."""
    usage: Usage
    """How many tokens were computed."""


class ChatDelta(Contract):
    """What a chunk adds to the model's turn."""

    role: Literal["assistant"] | None = None
    """Who speaks; only the first chunk has it."""
    content: str | None = None
    """Text to append."""
    refusal: None = None
    """Always null."""


class ChunkChoice(Contract):
    """What a chunk adds to the one answer."""

    index: Literal[0]
    """Always 0."""
    delta: ChatDelta
    """What is added."""
    logprobs: None
    """Always null."""
    finish_reason: FinishWord | None
    """Why the answer ended; null: it goes on."""


class ChatCompletionChunk(_Head):
    """One piece of the answer of a chat."""

    object: Literal["chat.completion.chunk"]
    """Kind of document."""
    choices: Annotated[Many[ChunkChoice], Field(max_length=1)]
    """What is added to the one answer; empty in the chunk with the usage."""
    usage: Usage | None = None
    """How many tokens were computed, in the last chunk; null in those before it; left out if it was not asked for."""


class TextChoice(Contract):
    """The one continuation of a text, or a piece of it."""

    index: Literal[0]
    """Always 0."""
    text: str | None
    """The continuation, or what is added to it; null: no longer stored."""
    logprobs: None
    """Always null."""
    finish_reason: FinishWord | None
    """As in a chat; null: the continuation goes on."""


class Completion(_Head):
    """The continuation of a text: in one piece, or one piece of a stream."""

    object: Literal["text_completion"]
    """Kind of document."""
    choices: Annotated[Many[TextChoice], Field(max_length=1)]
    """The one continuation; empty in the piece of a stream with the usage."""
    usage: Usage | None = None
    """How many tokens were computed. In a stream as in `ChatCompletionChunk`."""


class OpenAiModel(Contract):
    """One installed model file."""

    id: str
    """Value for `model` of a request: `NAME:QUANTIZATION`."""
    object: Literal["model"]
    """Kind of document."""
    created: Literal[0]
    """Always 0: the engine does not know when a model was made."""
    owned_by: Literal["weos-engine"]
    """Who serves the model."""


class OpenAiModelList(Contract):
    """All installed models."""

    object: Literal["list"]
    """Kind of document."""
    data: Many[OpenAiModel]
    """The models, sorted by name and quantization."""
