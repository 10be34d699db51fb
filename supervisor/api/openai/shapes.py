"""What an execution looks like in OpenAI's shape: one answer, or the chunks of a stream. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from contracts.api.openai.answers import (
    ChatAnswer,
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    ChunkChoice,
    Completion,
    FinishWord,
    TextChoice,
    Usage,
)
from contracts.api.responses import RunView
from contracts.execution.runner_protocol import FinishReason
from contracts.wire.document import Contract

__all__ = ["ChatShape", "CompletionShape", "Head", "Shape"]

FINISH_WORDS: dict[FinishReason, FinishWord] = {"length": "length", "eos": "stop", "stop": "stop"}


@dataclass(frozen=True, slots=True)
class Head:
    """What every answer and every chunk of an execution begins with."""

    execution_id: str
    accepted_at: str
    model: str
    engine_version: str

    def fields(self) -> dict[str, Any]:
        """Return the fields under OpenAI's names."""
        return {
            "id": self.execution_id,
            "created": int(datetime.fromisoformat(self.accepted_at).timestamp()),
            "model": self.model,
            "system_fingerprint": self.engine_version,
            "service_tier": "default",
        }


class Shape(Protocol):
    """One of the two kinds of answer; fields that are not set are left out when a document is sent."""

    def answer(self, view: RunView) -> Contract:
        """Return a completed execution in one piece."""
        ...

    def opening(self) -> Iterator[Contract]:
        """Yield the chunks before any text."""
        ...

    def piece(self, text: str) -> Contract:
        """Return the chunk that adds a text."""
        ...

    def ending(self, view: RunView) -> Iterator[Contract]:
        """Yield the chunks after the text of a completed execution."""
        ...


class ChatShape:
    """The answer of a chat."""

    def __init__(self, head: Head, *, wants_usage: bool) -> None:
        self._fields = head.fields()
        self._more: dict[str, Any] = {"usage": None} if wants_usage else {}

    def answer(self, view: RunView) -> ChatCompletion:
        """See `Shape`."""
        finish, usage = _end_of(view)
        message = ChatAnswer(role="assistant", content=view.output, refusal=None)
        choice = ChatChoice(index=0, message=message, logprobs=None, finish_reason=finish)
        return ChatCompletion(**self._fields, object="chat.completion", choices=(choice,), usage=usage)

    def opening(self) -> Iterator[ChatCompletionChunk]:
        """See `Shape`."""
        yield self._chunk(ChatDelta(role="assistant", content="", refusal=None))

    def piece(self, text: str) -> ChatCompletionChunk:
        """See `Shape`."""
        return self._chunk(ChatDelta(content=text))

    def ending(self, view: RunView) -> Iterator[ChatCompletionChunk]:
        """See `Shape`."""
        finish, usage = _end_of(view)
        yield self._chunk(ChatDelta(), finish)
        if self._more:
            yield ChatCompletionChunk(**self._fields, object="chat.completion.chunk", choices=(), usage=usage)

    def _chunk(self, delta: ChatDelta, finish: FinishWord | None = None) -> ChatCompletionChunk:
        choice = ChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=finish)
        return ChatCompletionChunk(**self._fields, object="chat.completion.chunk", choices=(choice,), **self._more)


class CompletionShape:
    """The continuation of a text; a piece of it has the same form."""

    def __init__(self, head: Head, *, wants_usage: bool) -> None:
        self._fields = head.fields()
        self._more: dict[str, Any] = {"usage": None} if wants_usage else {}

    def answer(self, view: RunView) -> Completion:
        """See `Shape`."""
        finish, usage = _end_of(view)
        return self._completion(view.output, finish, {"usage": usage})

    def opening(self) -> Iterator[Completion]:
        """See `Shape`."""
        yield from ()

    def piece(self, text: str) -> Completion:
        """See `Shape`."""
        return self._completion(text, None, self._more)

    def ending(self, view: RunView) -> Iterator[Completion]:
        """See `Shape`."""
        finish, usage = _end_of(view)
        yield self._completion("", finish, self._more)
        if self._more:
            yield Completion(**self._fields, object="text_completion", choices=(), usage=usage)

    def _completion(self, text: str | None, finish: FinishWord | None, more: dict[str, Any]) -> Completion:
        choice = TextChoice(index=0, text=text, logprobs=None, finish_reason=finish)
        return Completion(**self._fields, object="text_completion", choices=(choice,), **more)


def _end_of(view: RunView) -> tuple[FinishWord, Usage]:
    metrics = view.metrics
    if metrics is None or metrics.finish_reason is None or metrics.tokens_prompt is None:
        message = "a completed execution has no finish_reason or no tokens_prompt"
        raise LookupError(message)
    usage = Usage(
        prompt_tokens=metrics.tokens_prompt,
        completion_tokens=metrics.tokens_total,
        total_tokens=metrics.tokens_prompt + metrics.tokens_total,
    )
    return FINISH_WORDS[metrics.finish_reason], usage
