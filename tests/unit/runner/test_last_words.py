"""What a C library writes to standard error while it fails, kept in memory."""

import ctypes
from collections.abc import Callable

import pytest

from runner.last_words import choose_last_words, record_errors

libc = ctypes.CDLL(None)
libc.fputs.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
libc.fflush.argtypes = (ctypes.c_void_p,)


def writing(text: bytes, *, result: object = None) -> Callable[[], object]:
    """An attempt that writes as llama.cpp's own log does."""

    def attempt() -> object:
        stream = ctypes.c_void_p.in_dll(libc, "stderr")
        libc.fputs(text, stream)
        libc.fflush(stream)
        return result

    return attempt


def test_the_last_words_of_a_failure_are_kept_and_none_gets_out(capfd: pytest.CaptureFixture[str]) -> None:
    text = b"print_info: 1 layer\nload: error loading model: no such tensor\nload_impl: failed to load model\n"
    assert record_errors(writing(text)) == "load: error loading model: no such tensor"
    assert capfd.readouterr().err == ""


def test_what_comes_after_goes_to_standard_error_again(capfd: pytest.CaptureFixture[str]) -> None:
    record_errors(writing(b"inside\n"))
    writing(b"outside\n")()
    assert capfd.readouterr().err == "outside\n"


def test_it_goes_there_again_after_an_exception_too(capfd: pytest.CaptureFixture[str]) -> None:
    def attempt() -> object:
        raise MemoryError

    with pytest.raises(MemoryError):
        record_errors(attempt)
    writing(b"outside\n")()
    assert capfd.readouterr().err == "outside\n"


def test_an_attempt_that_succeeds_has_no_last_words() -> None:
    assert record_errors(writing(b"error: not after all\n", result=1)) == ""


def test_a_log_larger_than_the_buffer_is_cut() -> None:
    assert record_errors(writing(b"error\n" * (1 << 20))) == "error; error; error"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"one\ntwo\nthree\nfour\n", "two; three; four"),
        (b"one\ninvalid magic\ntwo\nerror loading model: x\nthree\nfailed to load model\n", None),
        (b"Failed: \x1b[31mred\x00\xff\xe2\x80\xae\n", "Failed: [31mred\ufffd"),
        (b"error " + b"x" * 1000, "x" * 400),
    ],
    ids=["nothing", "blank", "no failure", "two failures", "control characters", "long"],
)
def test_the_lines_that_tell_a_failure_are_chosen(log: bytes, words: str | None) -> None:
    assert choose_last_words(log) == ("invalid magic; error loading model: x" if words is None else words)
