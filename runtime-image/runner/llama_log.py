"""llama.cpp's log: silent, but for the reason of a failure before any job is known."""

import ctypes
from collections.abc import Callable

# Part of the image only, so a type checker outside it finds nothing.
import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found]

from runner.last_words import record_errors

__all__ = ["silence", "words_of_failure"]


def silence() -> None:
    """Give llama.cpp a function of the C library without effect as its log.

    A Python function would need a closure of libffi, for which Debian's build asks a page that is writable and
    executable. There is none in this process, and lock one gives none.
    """
    without_effect = ctypes.CDLL(None).abs
    bindings.llama_log_set(ctypes.cast(without_effect, bindings.llama_log_callback), None)


def words_of_failure(attempt: Callable[[], object]) -> str:
    """Make an attempt again that has just failed, with the log on, and return llama.cpp's last words."""
    bindings.llama_log_set(bindings.llama_log_callback(), None)
    try:
        return record_errors(attempt)
    finally:
        silence()
