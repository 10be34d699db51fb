"""Which failure an attempt of llama.cpp has had."""

import pytest

from runner.failures import decode_error, refusal_error


@pytest.mark.parametrize(
    ("status", "code"), [(-3, "decode_failed"), (-2, "out_of_memory"), (-1, "decode_failed"), (1, "decode_failed")]
)
def test_a_status_of_decoding_tells_memory_apart(status: int, code: str) -> None:
    error = decode_error(status)
    assert (error.code, error.message) == (code, f"llama_decode answered {status}")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 9", "out_of_memory"),
        ("std::bad_alloc", "out_of_memory"),
        ("invalid magic", "model_load_failed"),
    ],
)
def test_the_words_of_a_refusal_tell_memory_apart(words: str, code: str) -> None:
    error = refusal_error("model_load_failed", words)
    assert (error.code, error.message) == (code, words)


def test_a_refusal_without_words_says_so() -> None:
    assert refusal_error("context_failed", "").message == "it gave no reason"
