"""The container engine's attach stream, taken apart: frames of stdout and stderr, and stdout into lines."""

import asyncio
import time
from collections import deque

from contracts.runner_protocol import MAX_EVENT_BYTES
from supervisor.domain.errors import ExecutionFault

__all__ = ["FrameReader"]

# Engine API: one byte stream number, three zero bytes, four bytes length, big-endian.
HEADER_BYTES = 8
STDOUT, STDERR = 1, 2
READ_BYTES = 65_536
# What the runner writes to stderr before the job goes in says why it did not start; later it could carry anything.
STDERR_KEPT_BYTES = 4096


class FrameReader:
    """Turns the stream into lines with their arrival times, within a budget of bytes."""

    def __init__(self, stream: asyncio.StreamReader, output_bytes: int) -> None:
        self._stream = stream
        self._allowed = self._budget = output_bytes
        self._channel, self._left = STDOUT, 0
        self._header = b""
        self._partial = bytearray()
        self._lines: deque[tuple[bytes, int]] = deque()
        self._fault: ExecutionFault | None = None
        self.stderr_tail = b""

    def allow(self, output_bytes: int) -> None:
        """Set the budget anew; what has come counts against it."""
        self._budget += output_bytes - self._allowed
        self._allowed = output_bytes

    async def next_line(self) -> tuple[bytes, int] | None:
        """Return the next line and its arrival in monotonic ns, or None at the end of the stream.

        Raises:
            ExecutionFault: ``output_limit_exceeded`` or, for a line or frame that cannot be, ``runner_failed``. Lines
                that were whole before it come first: how the stream is cut into frames decides nothing.
        """
        while not self._lines:
            if self._fault is not None:
                raise self._fault
            try:
                chunk = await self._stream.read(READ_BYTES)
            except ConnectionError:
                return None
            if not chunk:
                return None
            try:
                self._take(chunk, time.monotonic_ns())
            except ExecutionFault as fault:
                self._fault = fault
        return self._lines.popleft()

    def _take(self, chunk: bytes, at_ns: int) -> None:
        """Take what has come: whole frames and parts of them. Lines are handed on before their frame has come whole."""
        position = 0
        while position < len(chunk):
            if not self._left:
                wanted = HEADER_BYTES - len(self._header)
                self._header += chunk[position : position + wanted]
                position += wanted
                if len(self._header) == HEADER_BYTES:
                    header, self._header = self._header, b""
                    self._begin_frame(header[0], int.from_bytes(header[4:], "big"))
                continue
            content = chunk[position : position + self._left]
            position += len(content)
            self._left -= len(content)
            if self._channel == STDOUT:
                self._split(content, at_ns)
            else:
                self.stderr_tail = (self.stderr_tail + content)[-STDERR_KEPT_BYTES:]

    def _begin_frame(self, channel: int, size: int) -> None:
        if channel not in {STDOUT, STDERR}:
            raise ExecutionFault("runner_failed", "the container engine sent a frame of an unknown stream")
        self._budget -= size
        if self._budget < 0:
            raise ExecutionFault("output_limit_exceeded", "the runner wrote more bytes than the plan allows")
        self._channel, self._left = channel, size

    def _split(self, chunk: bytes, at_ns: int) -> None:
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            self._lines.append((bytes(self._partial) + piece, at_ns))
            self._partial.clear()
        self._partial += rest
        if len(self._partial) > MAX_EVENT_BYTES:
            raise ExecutionFault("runner_failed", "the runner wrote a line longer than any event")
