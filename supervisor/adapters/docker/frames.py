"""The container engine's attach stream, taken apart: frames of stdout and stderr, and stdout into lines."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from contracts.execution.runner_protocol import MAX_EVENT_BYTES
from supervisor.adapters.docker.attach import HEADER_BYTES, STDERR, STDOUT, parse_header
from supervisor.domain.errors import ExecutionFault

__all__ = ["AttachedStream"]

READ_BYTES = 65_536
# What the runner writes to stderr before the job goes in says why it did not start; later it could carry anything.
STDERR_KEPT_BYTES = 4096


class AttachedStream(asyncio.BufferedProtocol):
    """One container's stdin, stdout and stderr on one socket.

    Lines are handed on where they arrive, so that a token wakes the supervisor once. Nothing is read while nobody
    listens: what a runner writes unasked waits in the kernel.
    """

    def __init__(self, output_bytes: int) -> None:
        self._allowed = self._budget = output_bytes
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._transport: asyncio.Transport | None = None
        self._channel, self._left = STDOUT, 0
        self._header = b""
        self._partial = bytearray()
        self._lines: deque[tuple[bytes, int]] = deque()
        self._fault: ExecutionFault | None = None
        self._has_ended = False
        self._take: Callable[[bytes, int], bool] | None = None
        self._heard: asyncio.Future[bool] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.stderr_tail = b""

    @property
    def is_attached(self) -> bool:
        """Whether it has its socket, and with it the care for it."""
        return self._transport is not None

    def allow(self, output_bytes: int) -> None:
        """Change the budget; bytes already received count against it."""
        self._budget += output_bytes - self._allowed
        self._allowed = output_bytes

    async def listen(self, take: Callable[[bytes, int], bool]) -> bool:
        """Hand on each line, with its arrival in monotonic ns, until one is taken as the last.

        Args:
            take: called with every line as it comes; says whether it was the last. What it raises ends the listening.

        Returns:
            False where the stream ended first.

        Raises:
            ExecutionFault: ``output_limit_exceeded`` or, for a line or frame that cannot be, ``runner_failed``. Lines
                that were whole before it come first: how the stream is cut into frames decides nothing.
        """
        self._take, self._heard = take, asyncio.get_running_loop().create_future()
        self._hand_on()
        try:
            if not self._heard.done() and self._transport is not None:
                self._transport.resume_reading()
            return await self._heard
        finally:
            self._take = self._heard = None
            if self._transport is not None:
                self._transport.pause_reading()

    async def next_line(self) -> tuple[bytes, int] | None:
        """Return the next line and its arrival in monotonic ns, or None at the end; raises as `listen` does."""
        found: list[tuple[bytes, int]] = []

        def keep(line: bytes, at_ns: int) -> bool:
            found.append((line, at_ns))
            return True

        try:
            return found[0] if await self.listen(keep) else None
        except asyncio.CancelledError:
            # It came in the turn in which nobody wanted it any more; it is the next listener's.
            self._lines.extendleft(found)
            raise

    async def send(self, data: bytes) -> None:
        """Write, and wait while the other side takes nothing.

        Raises:
            ConnectionError: there is no other side any more.
        """
        if self._transport is None or self._transport.is_closing():
            message = "the container's stream has closed"
            raise ConnectionError(message)
        self._transport.write(data)
        await self._writable.wait()

    def abort(self) -> None:
        """Let go of the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("asyncio.Transport", transport)
        # Python 3.11.2 starts to read after this call in any case, so reading is paused in the next turn of the loop.
        asyncio.get_running_loop().call_soon(self._transport.pause_reading)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See ``asyncio.BufferedProtocol``."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        try:
            self._split_frames(bytes(self._buffer[:nbytes]), time.monotonic_ns())
        except ExecutionFault as fault:
            self._fault = fault
        self._hand_on()

    def eof_received(self) -> bool:
        """See ``asyncio.Protocol``: the runner's end does not close our side."""
        self._has_ended = True
        self._hand_on()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        del exc
        self._has_ended = True
        self._writable.set()
        self._hand_on()

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._writable.set()

    def _hand_on(self) -> None:
        if self._take is None or self._heard is None or self._heard.done():
            return
        try:
            while self._lines:
                if self._take(*self._lines.popleft()):
                    self._heard.set_result(True)
                    return
            if self._fault is not None:
                raise self._fault
        except Exception as fault:  # noqa: BLE001 - handed to the listener
            self._heard.set_exception(fault)
        else:
            if self._has_ended:
                self._heard.set_result(False)

    def _split_frames(self, chunk: bytes, at_ns: int) -> None:
        """Take what has come: whole frames and parts of them. Lines are handed on before their frame has come whole."""
        position = 0
        while position < len(chunk):
            if not self._left:
                wanted = HEADER_BYTES - len(self._header)
                self._header += chunk[position : position + wanted]
                position += wanted
                if len(self._header) == HEADER_BYTES:
                    header, self._header = self._header, b""
                    self._begin_frame(*parse_header(header))
                continue
            content = chunk[position : position + self._left]
            position += len(content)
            self._left -= len(content)
            if self._channel == STDOUT:
                self._split_lines(content, at_ns)
            else:
                self.stderr_tail = (self.stderr_tail + content)[-STDERR_KEPT_BYTES:]

    def _begin_frame(self, channel: int, size: int) -> None:
        if channel not in {STDOUT, STDERR}:
            raise ExecutionFault("runner_failed", "the container engine sent a frame of an unknown stream")
        self._budget -= size
        if self._budget < 0:
            raise ExecutionFault("output_limit_exceeded", "the runner wrote more bytes than the plan allows")
        self._channel, self._left = channel, size

    def _split_lines(self, chunk: bytes, at_ns: int) -> None:
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            self._lines.append((bytes(self._partial) + piece, at_ns))
            self._partial.clear()
        self._partial += rest
        if len(self._partial) > MAX_EVENT_BYTES:
            raise ExecutionFault("runner_failed", "the runner wrote a line longer than any event")
