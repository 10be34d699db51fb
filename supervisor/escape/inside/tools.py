"""System calls and their answers for the attacks; everything they need is prepared before the second lock.

Runs inside the container, with the parts of the standard library that the image has. Under lock two an attack may make
only the system call that it tries, so everything else that it needs is already an attribute here.
"""

import _thread
import ctypes
import errno
import os
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["ALLOWED", "NOTHING", "Tools", "found", "unanimous"]

ALLOWED = "allowed"
NOTHING = "nothing"
SILENCE = "silence"
TRAPPED = "trapped"
SIGSYS = 31  # asm-generic/signal.h
PAGE_BYTES = 4096
BUFFER_BYTES = 1 << 16
# linux/mman.h: the flags with which the C library asks for memory.
READ_WRITE = 3
PRIVATE_ANONYMOUS = 0x22
GATE = b"\xcd\x80"  # the instruction `int 0x80`
THREAD_ANSWER_S = 30
# read (0) and write (1) may answer with their own number as a byte count; no other call here can.
FIRST_DISTINCT = 2


def unanimous(answers: Iterable[tuple[str, str]]) -> str:
    """Return which attempts were allowed, or if none was, every distinct answer."""
    listed = list(answers)
    allowed = sorted({what for what, answer in listed if answer == ALLOWED})
    if allowed:
        return f"{ALLOWED}: {' '.join(allowed)}"
    return " ".join(sorted({answer for _, answer in listed})) or NOTHING


def found(things: Iterable[object]) -> str:
    """Return `nothing`, or the things that exist but should not."""
    names = sorted(map(str, things))
    return f"{ALLOWED}: {' '.join(names)}" if names else NOTHING


class Tools:
    """Names for the expressions of attacks."""

    HERE = -100  # linux/fcntl.h, AT_FDCWD: a path from the working directory

    def __init__(self, facts: dict[str, Any]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.syscall.restype = ctypes.c_long
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.pthread_self.restype = ctypes.c_void_p
        self._numbers: dict[str, int] = facts["numbers"]
        self._buffer = ctypes.create_string_buffer(BUFFER_BYTES)
        self._zeros = ctypes.create_string_buffer(PAGE_BYTES)
        self.there = ctypes.addressof(self._buffer)
        self.zeros = ctypes.addressof(self._zeros)
        self.me = os.getpid()
        self.thread_pointer = self._libc.pthread_self()
        self.MODEL = os.fsencode(facts["model"])
        self.PROGRAM = os.fsencode(facts["program"])
        self.model = os.open(self.MODEL, os.O_RDONLY)
        self.program = os.open(self.PROGRAM, os.O_RDONLY)
        self.root = os.open("/", os.O_RDONLY)
        self.memory = self._open_memory()
        self.spare = self.page()

    @staticmethod
    def _open_memory() -> int:
        # Lock one allows this, because runc opens its fifo in the same way; gVisor has no such file to write.
        try:
            return os.open("/proc/self/mem", os.O_WRONLY)
        except OSError:
            return -1

    def buffer(self) -> bytes:
        """Return the bytes that the kernel wrote to the buffer at `there`."""
        return self._buffer.raw

    def page(self) -> int:
        """Return the address of a private page of memory."""
        return int(self._libc.mmap(None, PAGE_BYTES, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0))

    def number(self, name: str) -> int:
        """Return a call's number."""
        return self._numbers[name]

    def call(self, name: str, *arguments: int | bytes) -> str:
        """Make a system call and return `allowed` or the name of its error."""
        return self.call_number(self._numbers[name], *arguments)

    def call_number(self, number: int, *arguments: int | bytes) -> str:
        """Make a system call by number."""
        ctypes.set_errno(0)
        # c_long, because a variadic call would leave the upper half of an int undefined.
        values = [each if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
        answer = self._libc.syscall(ctypes.c_long(number), *values)
        if answer == -1 and ctypes.get_errno():
            return errno.errorcode.get(ctypes.get_errno(), f"errno {ctypes.get_errno()}")
        if answer == 0 and number in {self._numbers["clone"], self._numbers["fork"], self._numbers["vfork"]}:
            # A child process, which should not exist: it must not continue with the attacks.
            self._libc._exit(0)
        # If the process survives a trapped call, the call answers with its own number.
        return TRAPPED if answer == number > FIRST_DISTINCT else ALLOWED

    def every_family(self) -> str:
        """Ask for a socket of each family (0 to 45, linux/socket.h) and each type."""
        return unanimous(
            (f"{family}/{kind}", self.call("socket", family, kind, 0)) for family in range(46) for kind in (1, 2, 3, 5)
        )

    def every_process(self) -> str:
        """Ask for a process in every possible way, many times."""
        ways: tuple[tuple[str, tuple[int, ...]], ...] = (
            ("fork", ()),
            ("vfork", ()),
            ("clone", (17, 0, 0, 0, 0)),  # 17: SIGCHLD, as fork() passes it
            ("clone3", (self.zeros, 88)),
        )
        return unanimous((name, self.call(name, *arguments)) for name, arguments in ways * 100)

    def start_thread(self) -> str:
        """Start a thread that ends at once."""
        _thread.start_new_thread(int, ())
        return ALLOWED

    def run_again(self, code: str) -> str:
        """Replace this program with the interpreter; the new program writes the answer."""
        os.execv(self.PROGRAM, [self.PROGRAM, b"-I", b"-S", b"-B", b"-c", code.encode("ascii")])  # noqa: S606 - the attack

    def write_to(self, path: str, text: bytes) -> str:
        """Write into an existing file, opened in the only way that lock one allows."""
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, text)
        finally:
            os.close(descriptor)
        return ALLOWED

    def overwrite_own_code(self) -> str:
        """Change a byte of the C library's code through /proc/self/mem, to the same byte."""
        target = ctypes.cast(self._libc.abs, ctypes.c_void_p).value or 0
        os.lseek(self.memory, target, os.SEEK_SET)
        os.write(self.memory, ctypes.string_at(target, 1))
        return ALLOWED

    def find_gate(self) -> int:
        """Return the address of the bytes of `int 0x80` in mapped code, or 0; the attacker cannot add machine code."""
        with open("/proc/self/maps") as maps:  # noqa: PTH123 - the image has only what the runner needs
            for line in maps:
                span, rights, rest = line.split(maxsplit=2)
                start, end = (int(part, 16) for part in span.split("-"))
                if rights == "r-xp" and not rest.rstrip().endswith("]"):
                    offset = ctypes.string_at(start, end - start).find(GATE)
                    if offset >= 0:
                        return start + offset
        return 0

    def enter_gate(self, address: int) -> str:
        """Jump to the address. The call number is what the register holds: 0 after a jump, which is restart_syscall."""
        if not address:
            message = "no mapped code contains the instruction"
            raise LookupError(message)
        ctypes.CFUNCTYPE(ctypes.c_long)(address)()
        return ALLOWED

    def outlive_the_end(self) -> None:
        """Set a handler without effect for SIGSYS, the signal with which a filter ends a process."""
        self._libc.signal(SIGSYS, ctypes.cast(self._libc.abs, ctypes.c_void_p))

    def waiting_thread(self, attempt: str) -> Callable[[], str]:
        """Start a thread that waits; return a function that lets it make its call and returns the answer."""
        begun, go, done = _thread.allocate_lock(), _thread.allocate_lock(), _thread.allocate_lock()
        answers: list[str] = []

        def wait_and_attempt() -> None:
            begun.release()
            go.acquire()
            answers.append(self.call(attempt, 1, 1, 0))
            done.release()

        def let_go() -> str:
            go.release()
            done.acquire(timeout=THREAD_ANSWER_S)
            return answers[0] if answers else SILENCE

        for lock in (begun, go, done):
            lock.acquire()
        _thread.start_new_thread(wait_and_attempt, ())
        # The C library unblocks a thread's signals when it begins; under lock two that would no longer work.
        begun.acquire()
        return let_go
