"""Lock two: the filter after which this process can compute and answer, and nothing else."""

import ctypes
import os
from pathlib import Path

from runner.protocol import RunnerError

__all__ = ["load_program", "lock_down", "program_file"]

# The supervisor's word for how a forbidden call ends the process; the image build compiled a program for each.
WAY_VARIABLE = "LOCKDOWN_END"
PROGRAM_DIRECTORY = Path("/opt/weos")
# linux/filter.h, struct sock_filter: one instruction.
INSTRUCTION_BYTES = 8
INSTRUCTIONS_MAX = 4096
# asm/unistd_64.h and linux/seccomp.h.
SYS_SECCOMP = 317
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1


class _Program(ctypes.Structure):
    """linux/filter.h, struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def program_file() -> Path:
    """Return the program of this sandbox's tier."""
    return PROGRAM_DIRECTORY / f"lockdown-{os.environ.get(WAY_VARIABLE, '')}.bpf"


def load_program(path: Path | None = None) -> bytes:
    """Return the program that the image build compiled; by default the one of this sandbox's tier.

    Raises:
        RunnerError: lockdown_failed.
    """
    try:
        program = (path or program_file()).read_bytes()
    except OSError:
        program = b""
    if not program or len(program) % INSTRUCTION_BYTES or len(program) > INSTRUCTIONS_MAX * INSTRUCTION_BYTES:
        message = "the image holds no program for the second lock"
        raise RunnerError("lockdown_failed", message)
    return program


def lock_down(program: bytes) -> None:
    """Install the program on every thread of this process, for good.

    Raises:
        RunnerError: lockdown_failed; the kernel refused, or a thread could not be brought under the filter.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    prepared = _Program(len(program) // INSTRUCTION_BYTES, program)
    # c_long: a variadic call would pass an int's upper half as it happens to be.
    status = libc.syscall(
        ctypes.c_long(SYS_SECCOMP),
        ctypes.c_long(SECCOMP_SET_MODE_FILTER),
        ctypes.c_long(SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.byref(prepared),
    )
    # seccomp(2): with TSYNC a positive answer is a thread that could not follow.
    if status > 0:
        message = "a thread could not be brought under the second lock"
        raise RunnerError("lockdown_failed", message)
    if status < 0:
        name = os.strerror(ctypes.get_errno())
        message = f"the kernel refused the second lock: {name}"
        raise RunnerError("lockdown_failed", message)
