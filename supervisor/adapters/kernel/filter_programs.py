"""The system call filters of a sandbox's threads, handed out by the kernel: ptrace(2), PTRACE_SECCOMP_GET_FILTER.

The kernel hands them to a process with SYS_ADMIN and SYS_PTRACE on the host that is under no filter itself. Each thread
is stopped for the time that reading takes, and goes on as if nothing had been.
"""

import ctypes
import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from supervisor.adapters.kernel.proc_status import read_group

__all__ = ["read_filter_chains"]

# sys/ptrace.h and linux/wait.h.
PTRACE_DETACH = 17
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_SECCOMP_GET_FILTER = 0x420C
WAIT_ALL = 0x40000000
# linux/filter.h, struct sock_filter, and BPF_MAXINSNS.
INSTRUCTION_BYTES = 8
INSTRUCTIONS_MAX = 4096
FILTERS_MAX = 64
STOP_POLL_S = 0.0002


def read_filter_chains(pid: int, *, timeout_s: float) -> tuple[tuple[bytes, ...], ...]:
    """Return the filter programs of every thread in a container, the newest of each thread first.

    Args:
        pid: the first process of the container, as the host counts.
        timeout_s: time limit for all threads together, in seconds. A frozen thread cannot be stopped.

    Raises:
        OSError: the kernel refuses it, a thread has ended, or a thread was not stopped in time.
    """
    read: list[tuple[bytes, ...]] = []
    faults: list[OSError] = []

    def work() -> None:
        try:
            read.extend(_read_all(pid, time.monotonic() + timeout_s))
        except OSError as fault:
            faults.append(fault)

    # What traces is a thread, not a process, and its end lets every traced thread go, also after an error.
    tracer = threading.Thread(target=work, name="filters")
    tracer.start()
    tracer.join()
    if faults:
        raise faults[0]
    return tuple(read)


def _read_all(pid: int, deadline_s: float) -> Iterator[tuple[bytes, ...]]:
    for process in read_group(pid):
        for task in sorted(int(each.name) for each in Path(f"/proc/{process}/task").iterdir()):
            _ptrace(PTRACE_SEIZE, task)
            _ptrace(PTRACE_INTERRUPT, task)
            _await_stop(task, deadline_s)
            try:
                # The kernel counts from the oldest.
                yield tuple(_programs(task))[::-1]
            finally:
                with suppress(OSError):
                    _ptrace(PTRACE_DETACH, task)


def _await_stop(task: int, deadline_s: float) -> None:
    while True:
        stopped, status = os.waitpid(task, WAIT_ALL | os.WNOHANG)
        if stopped and os.WIFSTOPPED(status):
            return
        if stopped:
            raise OSError(errno.ESRCH, "a thread has ended")
        if time.monotonic() > deadline_s:
            raise OSError(errno.ETIMEDOUT, "a thread was not stopped in time")
        time.sleep(STOP_POLL_S)


def _programs(task: int) -> Iterator[bytes]:
    buffer = ctypes.create_string_buffer(INSTRUCTIONS_MAX * INSTRUCTION_BYTES)
    for index in range(FILTERS_MAX):
        try:
            count = _ptrace(PTRACE_SECCOMP_GET_FILTER, task, index, ctypes.addressof(buffer))
        except FileNotFoundError:
            # The kernel's word for: no further filter.
            return
        yield buffer.raw[: count * INSTRUCTION_BYTES]


def _ptrace(request: int, task: int, address: int = 0, data: int = 0) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    result = int(libc.ptrace(*map(ctypes.c_long, (request, task, address, data))))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
