"""Unix sockets at paths of any length.

The kernel takes at most 107 bytes of path (unix(7)); a home may lie deeper. Naming the socket through a descriptor of
its directory keeps the path short.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["connect_unix", "listen_unix", "listener_pid"]

# struct ucred: process, user and group (unix(7)).
CREDENTIALS = struct.Struct("3i")


@contextmanager
def _short_name(path: Path) -> Iterator[str]:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen_unix(path: Path) -> socket.socket:
    """Return a listening socket that only its owner can reach; a stale one at the path is replaced."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The directory is its owner's alone, so nobody gets in between the two calls.
    with _short_name(path) as name:
        listening.bind(name)
    path.chmod(0o600)
    listening.listen()
    return listening


def connect_unix(path: Path, timeout_s: float) -> socket.socket:
    """Return a connected socket.

    Raises:
        OSError: nobody listens there.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connected.settimeout(timeout_s)
    try:
        with _short_name(path) as name:
            connected.connect(name)
    except OSError:
        connected.close()
        raise
    return connected


def listener_pid(connected: socket.socket) -> int:
    """Return the process that listened on the other side, as the kernel noted it; 0: it has no number in here."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(credentials)[0])
