"""The process's two ends: lines in on one descriptor, events out on a private one."""

import json
import os

from runner.events import Event
from runner.protocol import LINE_BYTES_MAX, RunnerError

__all__ = ["EventWriter", "LineReader", "take_private_stdout"]

STDOUT_FD = 1
STDERR_FD = 2
# Where policies/lockdown.json lets events be written.
EVENT_FD = 3
READ_BYTES = 1 << 16


def take_private_stdout() -> int:
    """Move standard output to a descriptor of its own, `EVENT_FD`, and point descriptor 1 at standard error.

    What a library prints can then never be taken for an event.
    """
    os.dup2(STDOUT_FD, EVENT_FD, inheritable=False)
    os.dup2(STDERR_FD, STDOUT_FD, inheritable=False)
    return EVENT_FD


class LineReader:
    """Lines of a descriptor, each at most LINE_BYTES_MAX long, newline included."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()

    def read_line(self) -> bytes | None:
        """Return the next line without its newline, or None at the end of input.

        Raises:
            RunnerError: protocol_error for a line that is too long (it is skipped) or has no end.
        """
        searched = 0
        too_long = False
        while (end := self._buffer.find(b"\n", searched)) < 0:
            if len(self._buffer) >= LINE_BYTES_MAX:
                too_long = True
                self._buffer.clear()
            searched = len(self._buffer)
            chunk = os.read(self._fd, READ_BYTES)
            if not chunk:
                self._check_nothing_is_left(too_long)
                return None
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if too_long or end >= LINE_BYTES_MAX:
            message = f"a line is longer than {LINE_BYTES_MAX} bytes"
            raise RunnerError("protocol_error", message)
        return line

    def _check_nothing_is_left(self, too_long: bool) -> None:
        if self._buffer or too_long:
            self._buffer.clear()
            message = "the input ends within a line"
            raise RunnerError("protocol_error", message)


class EventWriter:
    """Events as lines of ASCII JSON, each written out at once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

    def send(self, event: Event) -> None:
        """Write one event."""
        pending = memoryview(self._encode(event).encode("ascii") + b"\n")
        while pending:
            pending = pending[os.write(self._fd, pending) :]
