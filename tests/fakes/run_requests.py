"""Requests as a caller sends them; they stand in for no port."""

from typing import Any

__all__ = ["chat_request", "completion_request", "spec_request"]


def spec_request(**changes: Any) -> dict[str, Any]:
    """The specification's Run Request for the installed model; keyword arguments replace top-level fields."""
    request = {
        "model": "smollm2-135m-instruct",
        "prompt": "Explique inferência eficiente",
        "execution": {
            "backend": "cpu_avx2",
            "quantization": "q4_1",
            "scheduler_policy": "default",
            "limits": {"max_tokens": 8, "max_watts": 25},
        },
    }
    return request | changes


def chat_request(**changes: Any) -> dict[str, Any]:
    """A chat in OpenAI's shape, on the installed model; keyword arguments replace or add fields."""
    messages = [{"role": "user", "content": spec_request()["prompt"]}]
    return {"model": "smollm2-135m-instruct", "messages": messages, "max_completion_tokens": 8, **changes}


def completion_request(**changes: Any) -> dict[str, Any]:
    """A completion in OpenAI's shape, on the installed model; keyword arguments replace or add fields."""
    return {"model": "smollm2-135m-instruct", "prompt": spec_request()["prompt"], "max_tokens": 8, **changes}
