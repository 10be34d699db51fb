"""What a library writes to C's standard error, kept in memory: its last words."""

import ctypes
from collections.abc import Callable

__all__ = ["choose_last_words", "record_errors"]

# Of a buffer only what is written takes memory. A model of 262,144 tokens, 6,000 of them control tokens, is loaded with
# a log of half a megabyte.
LOG_BYTES = 1 << 22
LINES = 3
CHARS_MAX = 400
# llama.cpp's last line of every failed load; the reason is in those before.
SAYS_NOTHING = "failed to load model"
# llama.cpp's own log does not tell an error from an observation.
OF_FAILURES = ("error", "fail", "invalid", "unable", "cannot", "not found", "unknown", "unsupported")


def choose_last_words(log: bytes) -> str:
    """Return the last lines of a log that tell a failure, as one line of printable characters.

    Where no line seems to, the log's last lines.
    """
    cleaned = ("".join(filter(str.isprintable, line)).strip() for line in log.decode("utf-8", "replace").splitlines())
    lines = [line for line in cleaned if line and not line.endswith(SAYS_NOTHING)]
    telling = [line for line in lines if any(word in line.lower() for word in OF_FAILURES)]
    return "; ".join((telling or lines)[-LINES:])[-CHARS_MAX:]


def record_errors(attempt: Callable[[], object]) -> str:
    """Make an attempt and return the last words that it wrote to C's standard error; none where it succeeds.

    The C library documents that a program may set `stderr`. Only the buffer's end is out of reach: what does not fit is
    lost.
    """
    libc = ctypes.CDLL(None)
    libc.fmemopen.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    libc.fmemopen.restype = ctypes.c_void_p
    libc.fclose.argtypes = (ctypes.c_void_p,)
    log = ctypes.create_string_buffer(LOG_BYTES)
    stream = libc.fmemopen(log, len(log), b"w")
    if not stream:
        return ""
    standard_error = ctypes.c_void_p.in_dll(libc, "stderr")
    own = standard_error.value
    standard_error.value = stream
    try:
        succeeded = attempt()
    finally:
        standard_error.value = own
        libc.fclose(stream)
    return "" if succeeded else choose_last_words(log.value)
