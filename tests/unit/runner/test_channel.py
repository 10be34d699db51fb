import json
import os
import threading

import pytest

from runner.channel import EventWriter, LineReader
from runner.protocol import LINE_BYTES_MAX, RunnerError


def reader_of(*chunks: bytes) -> LineReader:
    read_fd, write_fd = os.pipe()

    def write() -> None:
        with os.fdopen(write_fd, "wb", buffering=0) as pipe:
            for chunk in chunks:
                pipe.write(chunk)

    threading.Thread(target=write, daemon=True).start()
    return LineReader(read_fd)


def test_lines_are_read_however_they_arrive() -> None:
    reader = reader_of(b"on", b"e\ntwo\n\nth", b"ree\n")
    assert [reader.read_line() for _ in range(5)] == [b"one", b"two", b"", b"three", None]


def test_a_line_of_the_greatest_length_is_read() -> None:
    longest = b"a" * (LINE_BYTES_MAX - 1)
    assert reader_of(longest + b"\n").read_line() == longest


@pytest.mark.parametrize("size", [LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 3 * LINE_BYTES_MAX])
def test_a_longer_line_is_refused_and_the_next_one_read(size: int) -> None:
    reader = reader_of(b"a" * size + b"\nnext\n")
    with pytest.raises(RunnerError, match="longer"):
        reader.read_line()
    assert reader.read_line() == b"next"


@pytest.mark.parametrize("size", [1, 2 * LINE_BYTES_MAX])
def test_input_that_ends_within_a_line_is_refused_once(size: int) -> None:
    reader = reader_of(b"a" * size)
    with pytest.raises(RunnerError, match="within a line"):
        reader.read_line()
    assert reader.read_line() is None


def test_an_event_is_one_ascii_line_whatever_its_text() -> None:
    read_fd, write_fd = os.pipe()
    EventWriter(write_fd).send({"type": "token", "text": "\u20ac\n\u2028\U0001f600"})
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        written = pipe.read()
    assert written.isascii()
    assert written.count(b"\n") == 1
    assert json.loads(written)["text"] == "\u20ac\n\u2028\U0001f600"


def test_an_event_larger_than_a_pipe_is_written_whole() -> None:
    read_fd, write_fd = os.pipe()
    received: list[bytes] = []

    def read() -> None:
        with os.fdopen(read_fd, "rb") as pipe:
            received.append(pipe.read())

    thread = threading.Thread(target=read)
    thread.start()
    EventWriter(write_fd).send({"text": "x" * 1_000_000})
    os.close(write_fd)
    thread.join()
    assert len(json.loads(received[0])["text"]) == 1_000_000
