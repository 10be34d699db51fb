"""The one door to a container's input and outputs: the attached socket, and the frames that its outputs come in."""

import os
import socket

import docker

__all__ = ["HEADER_BYTES", "STDERR", "STDOUT", "attach", "parse_header", "read_frame"]

# Docker's Engine API, "Stream format": one byte stream number, three zero bytes, four bytes length, big-endian.
HEADER_BYTES = 8
STDOUT, STDERR = 1, 2
ALL_STREAMS = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}


def attach(client: docker.APIClient, container_id: str) -> socket.socket:
    """Return a socket that carries a container's input and, in frames, its outputs.

    It blocks; the caller sets a timeout and closes it.
    """
    attached = client.attach_socket(container_id, ALL_STREAMS)
    # The SDK hands out a file object around the socket; a duplicate descriptor gives us the socket itself.
    connection = socket.socket(fileno=os.dup(attached.fileno()))
    # The response behind it owns the connection; closing it leaves our duplicate open.
    attached._response.close()
    attached.close()
    # The SDK's timeout has made the descriptor non-blocking, which a new socket object would not know.
    connection.setblocking(True)
    return connection


def parse_header(header: bytes) -> tuple[int, int]:
    """Return the stream number of a frame and the number of bytes that follow."""
    return header[0], int.from_bytes(header[4:HEADER_BYTES], "big")


def read_frame(connection: socket.socket) -> tuple[int, bytes] | None:
    """Return the stream number and the content of the next frame, None at the end of the stream.

    The SDK's own reader waits without a deadline; this one keeps the socket's.

    Raises:
        TimeoutError: nothing came within the socket's timeout.
    """
    header = _read(connection, HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    stream, size = parse_header(header)
    return stream, _read(connection, size)


def _read(connection: socket.socket, size: int) -> bytes:
    # Less only at the end of the stream.
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data
