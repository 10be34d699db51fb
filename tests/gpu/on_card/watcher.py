"""Watch every system call of a process through seccomp's user notification, and let each go on.

seccomp_unotify(2). The process installs a filter that asks about every call; its descriptor is fetched with
pidfd_getfd(2), since the process itself can hand nothing over any more.
"""

import ctypes
import fcntl
import os
import select
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from supervisor.domain.policies.system_calls import name_of
from tests.gpu.on_card.filters import SIGNIFICANT
from tests.gpu.on_card.ioctls import describe_ioctl

__all__ = ["Call", "Watcher"]

# linux/seccomp.h: struct seccomp_notif, its answer, and the requests.
NOTIFICATION = struct.Struct("<QIIiIQ6Q")
ANSWER = struct.Struct("<QqiI")
RECEIVE, SEND, SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104
GO_ON = 1
SYS_PIDFD_GETFD = 438
FOUND_WITHIN_S = 10.0
PATH_BYTES_MAX = 4096
LOW_HALF = 0xFFFFFFFF
EVENT_FD = 3
# Index of the argument that is a path.
PATHS = {
    "access": 0, "execve": 0, "faccessat": 1, "faccessat2": 1, "newfstatat": 1, "open": 0, "openat": 1, "readlink": 0,
    "readlinkat": 1, "stat": 0, "statfs": 0, "statx": 1, "unlink": 0, "memfd_create": 0, "mkdir": 0, "symlink": 1,
}  # fmt: skip
# Index of the argument that is a descriptor, where what it leads to says what the call does.
DESCRIPTORS = {"ioctl": 0, "mmap": 4, "read": 0, "write": 0, "pread64": 0, "poll": -1}
MAP_ANONYMOUS = 0x20


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of call, as often as it was made in a phase."""

    phase: str
    name: str
    arguments: tuple[int, ...]
    """The significant ones, see `filters.SIGNIFICANT`."""
    target: str
    """The path or the device that it is about, or nothing."""
    detail: str
    """What an ioctl asks the driver for, or nothing."""
    lock_one: int
    lock_two: int
    """What the CPU backends' locks would do with it."""


class Watcher:
    """Watches a process from its filter to its end, in a thread of its own.

    The phases: `start` until the model is opened, `load` until the second lock, `job` until the last event, `end`.
    """

    def __init__(self, model: Path, decide: Callable[[int, Sequence[int]], tuple[int, int]]) -> None:
        """Take the model's file and what both locks do with a call."""
        self.calls: Counter[Call] = Counter()
        self.fault: str | None = None
        self._model = str(model)
        self._decide = decide
        self._phase = "start"
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Find the filter's descriptor in the process and begin.

        Raises:
            TimeoutError: the process installed no filter in time.
        """
        listener = _fetch_listener(pid)
        with suppress(OSError):
            # Linux 6.6 and later: the two processes hand over to each other faster.
            fcntl.ioctl(listener, SET_FLAGS, 1)
        self._thread = threading.Thread(target=self._run, args=(listener,), name="watcher", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the process."""
        if self._thread is not None:
            self._thread.join(FOUND_WITHIN_S)

    def _run(self, listener: int) -> None:
        while True:
            buffer = bytearray(NOTIFICATION.size)
            try:
                fcntl.ioctl(listener, RECEIVE, buffer, True)
            except InterruptedError:
                continue
            except OSError:
                # ENOENT: no process has the filter any more, or the caller was killed.
                if not _has_users(listener):
                    os.close(listener)
                    return
                continue
            number_id, pid, _flags, number, _architecture, _address, *arguments = NOTIFICATION.unpack(buffer)
            try:
                self._note(pid, number, arguments)
            except Exception as error:  # noqa: BLE001 - told in the results; the process must go on
                self.fault = f"{type(error).__name__}: {error}"
            with suppress(OSError):
                fcntl.ioctl(listener, SEND, bytearray(ANSWER.pack(number_id, 0, 0, GO_ON)), True)

    def _note(self, pid: int, number: int, arguments: Sequence[int]) -> None:
        name = name_of(number)
        target = _target(pid, name, arguments)
        if name == "openat" and target == self._model and self._phase == "start":
            self._phase = "load"
        detail = (
            describe_ioctl(target, arguments, lambda size: _read(pid, arguments[2], size)) if name == "ioctl" else ""
        )
        shown = tuple(arguments[index] & LOW_HALF for index in SIGNIFICANT.get(name, ()))
        # A path that holds ids of processes or threads is one path.
        target = target.replace(f"/{pid}/", "/TID/").replace(f"/{pid}", "/TID")
        self.calls[Call(self._phase, name, shown, target, detail, *self._decide(number, arguments))] += 1
        if name == "seccomp":
            self._phase = "job"
        elif name == "write" and arguments[0] == EVENT_FD and b'"type":"done"' in _read(pid, arguments[1], 32):
            self._phase = "end"


def _target(pid: int, name: str, arguments: Sequence[int]) -> str:
    if name in {"bind", "connect"}:
        # sockaddr_un: two bytes of family, then the path; the abstract ones begin with a zero byte.
        return repr(_read(pid, arguments[1], min(arguments[2], 110))[2:].rstrip(b"\0"))
    if name in PATHS:
        return _read(pid, arguments[PATHS[name]], PATH_BYTES_MAX).split(b"\0")[0].decode("utf-8", "replace")
    index = DESCRIPTORS.get(name, -1)
    if index < 0 or (name == "mmap" and arguments[3] & MAP_ANONYMOUS):
        return ""
    descriptor = ctypes.c_int(arguments[index] & LOW_HALF).value
    try:
        link = str(Path(f"/proc/{pid}/fd/{descriptor}").readlink())
    except OSError:
        return "closed"
    return link.split(":[", maxsplit=1)[0]


def _read(pid: int, address: int, size: int) -> bytes:
    """Read a process's memory, as much as is there up to the end of a page where the whole is not."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for wanted in (size, min(size, 4096 - address % 4096)):
            with suppress(OSError, OverflowError):
                memory.seek(address)
                return memory.read(wanted)
    return b""


def _fetch_listener(pid: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    process = os.pidfd_open(pid)
    deadline = time.monotonic() + FOUND_WITHIN_S
    try:
        while time.monotonic() < deadline:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if "seccomp notify" not in str(link.readlink()):
                        continue
                    arguments = map(ctypes.c_long, (SYS_PIDFD_GETFD, process, int(link.name), 0))
                    found = int(libc.syscall(*arguments))
                    if found >= 0:
                        return found
            time.sleep(0.002)
    finally:
        os.close(process)
    message = "the process installed no filter with a listener"
    raise TimeoutError(message)


def _has_users(listener: int) -> bool:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return not any(event & select.POLLHUP for _fd, event in poll.poll(0))
