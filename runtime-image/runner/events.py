"""The line protocol: the events that go out."""

from typing import NamedTuple

from runner.protocol import PROTOCOL_VERSION, RunnerError

__all__ = [
    "Event",
    "ModelInfo",
    "done_event",
    "error_event",
    "prompt_event",
    "ready_event",
    "token_event",
]

Event = dict[str, object]


class ModelInfo(NamedTuple):
    """What the model file says of itself."""

    architecture: str
    context_length: int
    description: str
    has_chat_template: bool


def ready_event(
    backend: str, llama_cpp_version: str, cpu_features: list[str], model: ModelInfo, lockdown_policy: str
) -> Event:
    """Say that the model is loaded, that the second lock is on and that only computing remains."""
    return {
        "type": "ready",
        "protocol": PROTOCOL_VERSION,
        "backend": backend,
        "cpu_features": cpu_features,
        "llama_cpp_version": llama_cpp_version,
        "model": model._asdict(),
        "lockdown_policy": lockdown_policy,
    }


def prompt_event(tokens: int) -> Event:
    """Say that the prompt is processed and nothing is sampled yet."""
    return {"type": "prompt", "tokens": tokens}


def token_event(index: int, token_id: int, text: str) -> Event:
    """Say that a token was generated, with the text that can no longer change."""
    return {"type": "token", "index": index, "token_id": token_id, "text": text}


def done_event(finish_reason: str, tokens: int, text: str) -> Event:
    """Say that generation ended, with the text still held back."""
    return {"type": "done", "finish_reason": finish_reason, "tokens": tokens, "text": text}


def error_event(error: RunnerError) -> Event:
    """Say what failed."""
    event: Event = {"type": "error", "code": error.code, "message": error.message}
    if error.prompt_tokens is not None:
        event["prompt_tokens"] = error.prompt_tokens
    return event
