"""Which failure an attempt of llama.cpp has had: one that ran out of memory tells itself apart."""

from runner.protocol import RunnerError

__all__ = ["decode_error", "refusal_error"]

# How llama.cpp and ggml word a failed allocation.
_NO_MEMORY = ("failed to allocate", "unable to allocate", "bad_alloc", "insufficient memory")
# llama_decode's word for it (GGML_STATUS_ALLOC_FAILED and what goes with it in src/llama-context.cpp).
_NO_MEMORY_STATUS = -2


def refusal_error(code: str, words: str) -> RunnerError:
    """Return the error of an attempt that llama.cpp has refused with these words."""
    if any(phrase in words for phrase in _NO_MEMORY):
        code = "out_of_memory"
    return RunnerError(code, words or "it gave no reason")


def decode_error(status: int) -> RunnerError:
    """Return the error of a status of `llama_decode` other than 0."""
    code = "out_of_memory" if status == _NO_MEMORY_STATUS else "decode_failed"
    return RunnerError(code, f"llama_decode answered {status}")
