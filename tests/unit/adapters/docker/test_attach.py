import socket
from collections.abc import Iterator

import pytest

from supervisor.adapters.docker.attach import STDERR, STDOUT, parse_header, read_frame


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, container_engine = socket.socketpair()
    with ours, container_engine:
        yield ours, container_engine


def frame(stream: int, content: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


def test_a_header_names_the_stream_and_the_length() -> None:
    assert parse_header(b"\x02\0\0\0\0\x01\0\0") == (STDERR, 65_536)


def test_frames_are_read_to_the_end(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, container_engine = ends
    container_engine.sendall(frame(STDOUT, b"out") + frame(STDERR, b"") + frame(STDERR, b"err"))
    container_engine.shutdown(socket.SHUT_WR)
    read = [read_frame(ours) for _ in range(4)]
    assert read == [(STDOUT, b"out"), (STDERR, b""), (STDERR, b"err"), None]


@pytest.mark.parametrize(("sent", "expected"), [(b"\x01\0\0", None), (frame(STDOUT, b"whole")[:-2], (STDOUT, b"who"))])
def test_a_frame_cut_short_ends_the_stream(
    ends: tuple[socket.socket, socket.socket], sent: bytes, expected: tuple[int, bytes] | None
) -> None:
    ours, container_engine = ends
    container_engine.sendall(sent)
    container_engine.shutdown(socket.SHUT_WR)
    assert read_frame(ours) == expected


def test_a_silent_container_is_given_up(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, container_engine = ends
    ours.settimeout(0.05)
    container_engine.sendall(frame(STDOUT, b"half")[:-1])
    with pytest.raises(TimeoutError):
        read_frame(ours)
