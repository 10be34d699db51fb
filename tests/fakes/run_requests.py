"""Run Requests as a caller sends them; they stand in for no port."""

from typing import Any

__all__ = ["spec_request"]


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
