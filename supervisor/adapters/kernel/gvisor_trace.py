"""What gVisor's kernel reports of the calls inside, as they happen: `runsc trace create` with a remote sink.

The sink is a Unix socket of packets (SOCK_SEQPACKET). Either side opens with its version as a protocol buffer; then the
kernel sends one packet for each call that was asked about: a header of 8 bytes (its own size, a kind, and how many
packets were dropped) and a protocol buffer. The report is sent before the call returns to the runner, so what the
runner did before it wrote a line is here when that line is.
"""

import json
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from supervisor.domain.sandbox.gvisor import FilterCall

__all__ = ["GuestWatch", "Runsc", "read_filter_call"]

# Measured on two busy cores: 0.03 s each.
RUNSC_TIMEOUT_S = 20.0
ACCEPT_POLL_S = 0.05
MAX_ANSWER_BYTES = 8_388_608
MAX_PACKET_BYTES = 4096
MAX_PACKETS = 64
# Version 1: field 1, a number. gVisor accepts it up to at least version 2 of its own.
HANDSHAKE = b"\x08\x01"
HEADER = struct.Struct("<HHI")
# gVisor's MESSAGE_SYSCALL_RAW, and the fields of its message Syscall and, within, Exit.
RAW_SYSCALL = 6
EXIT, SYSTEM_CALL, FIRST_ARGUMENT, SECOND_ARGUMENT = 2, 4, 5, 6
EXIT_RESULT, EXIT_ERROR = 1, 2
# asm/unistd_64.h: seccomp.
SECCOMP = 317
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
VARINT_BITS_MAX = 70


class Runsc:
    """The very program that runs a sandbox, asked about it; it takes root."""

    def __init__(self, pid: int, container_id: str, *, root: Path = Path("/")) -> None:
        self._container_id = container_id
        process = root / "proc" / str(pid)
        words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        place = next((word for word in words if word.startswith("--root=")), None)
        if place is None:
            message = "the sandbox's first process is not gVisor's kernel"
            raise ValueError(message)
        # Through /proc, so that a program that was replaced on the disk meanwhile is still the right one.
        self._program = (str(process / "exe"), place)

    def describe(self) -> bytes:
        """Return how gVisor's kernel describes its processes.

        Raises:
            OSError: it cannot be asked.
        """
        process = self._start("trace", "procfs", self._container_id)
        answer = self._finish(process)
        if len(answer) > MAX_ANSWER_BYTES:
            message = "gVisor's description of the sandbox is too long"
            raise OSError(message)
        return answer

    def watch_filters(self) -> "GuestWatch":
        """Have every seccomp(2) inside reported from now on.

        Raises:
            OSError: it cannot be asked.
        """
        with (
            tempfile.TemporaryDirectory(prefix="weos-") as directory,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening,
            tempfile.TemporaryFile() as session,
        ):
            sink = Path(directory) / "sink"
            listening.bind(str(sink))
            listening.listen(1)
            listening.settimeout(ACCEPT_POLL_S)
            session.write(json.dumps(_session(sink)).encode("utf-8"))
            session.flush()
            config = f"/proc/self/fd/{session.fileno()}"
            arguments = ("trace", "create", "--config", config, self._container_id)
            process = self._start(*arguments, descriptor=session.fileno())
            connection = _accept(listening, process)
            try:
                if connection is not None:
                    connection.settimeout(RUNSC_TIMEOUT_S)
                    connection.recv(MAX_PACKET_BYTES)
                    connection.send(HANDSHAKE)
                self._finish(process)
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
        if connection is None:
            message = "gVisor's kernel did not come to report"
            raise OSError(message)
        connection.setblocking(False)
        return GuestWatch(connection)

    def _start(self, *arguments: str, descriptor: int | None = None) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - the program that runs the sandbox, no shell
            (*self._program, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=() if descriptor is None else (descriptor,),
            env={},
        )

    def _finish(self, process: "subprocess.Popen[bytes]") -> bytes:
        with process:
            try:
                answer, errors = process.communicate(timeout=RUNSC_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                process.kill()
                message = "runsc does not answer"
                raise OSError(message) from error
        if process.returncode != 0:
            last = errors.decode("utf-8", "replace").strip()[-200:]
            message = f"runsc cannot be asked (exit status {process.returncode}): {last}"
            raise OSError(message)
        return answer


def _session(sink: Path) -> dict[str, object]:
    # gVisor knows one session by this name and no other.
    return {
        "trace_session": {
            "name": "Default",
            "points": [{"name": f"syscall/sysno/{SECCOMP}/exit"}],
            "sinks": [{"name": "remote", "config": {"endpoint": str(sink)}}],
        }
    }


def _accept(listening: socket.socket, process: "subprocess.Popen[bytes]") -> socket.socket | None:
    deadline = time.monotonic() + RUNSC_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        return connection
    return None


class GuestWatch:
    """The reports of one sandbox."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._calls: list[FilterCall] = []
        self._lost = False

    def calls(self) -> tuple[FilterCall, ...] | None:
        """Return every call reported so far; None: reports were lost.

        Raises:
            ValueError: a report cannot be understood.
        """
        while not self._lost and len(self._calls) <= MAX_PACKETS:
            try:
                packet = self._connection.recv(MAX_PACKET_BYTES)
            except BlockingIOError:
                return tuple(self._calls)
            if not packet:
                # gVisor's kernel has ended.
                return tuple(self._calls)
            dropped, call = read_filter_call(packet)
            self._lost = dropped > 0
            if call is not None:
                self._calls.append(call)
        return None

    def close(self) -> None:
        """Hear no more; what gVisor's kernel would still report is dropped there."""
        self._connection.close()


def read_filter_call(packet: bytes) -> tuple[int, FilterCall | None]:
    """Return how many packets were dropped before this one, and the seccomp(2) it reports, if that is what it does.

    Raises:
        ValueError: it is not well-formed.
    """
    if len(packet) < HEADER.size:
        message = "a report is cut short"
        raise ValueError(message)
    size, kind, dropped = HEADER.unpack_from(packet)
    if size < HEADER.size or size > len(packet):
        message = "a report has a header of an impossible size"
        raise ValueError(message)
    if kind != RAW_SYSCALL:
        return dropped, None
    fields = dict(_read_fields(packet[size:]))
    if fields.get(SYSTEM_CALL) != SECCOMP:
        return dropped, None
    # A number that is zero is left out (protocol buffers, version 3).
    end = fields.get(EXIT)
    outcome = dict(_read_fields(end)) if isinstance(end, bytes) else {}
    if not isinstance(end, bytes):
        message = "a call is reported that has not returned"
        raise ValueError(message)
    numbers = (fields.get(FIRST_ARGUMENT, 0), fields.get(SECOND_ARGUMENT, 0))
    operation, flags = map(_number, numbers)
    return dropped, FilterCall(
        operation, flags, result=_number(outcome.get(EXIT_RESULT, 0)), error=_number(outcome.get(EXIT_ERROR, 0))
    )


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        message = "a report has bytes where a number belongs"
        raise ValueError(message)
    return value


def _read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if kind == BYTES:
            length, position = _read_varint(data, position)
        elif kind in {FIXED_32, FIXED_64}:
            length = 4 if kind == FIXED_32 else 8
        else:
            message = "a report has a field of an unknown kind"
            raise ValueError(message)
        if position + length > len(data):
            message = "a report is cut short"
            raise ValueError(message)
        yield number, data[position : position + length]
        position += length


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, VARINT_BITS_MAX, 7):
        if position >= len(data):
            message = "a report is cut short"
            raise ValueError(message)
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            return value, position
    message = "a report has a number of too many digits"
    raise ValueError(message)
