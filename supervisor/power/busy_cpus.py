"""Processes that keep CPUs busy for a limited time and are guaranteed to end afterwards."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["busy_cpus"]

# Hashing keeps the vector units of a core busy and needs almost no memory. The program reports when it begins. It ends
# by itself when its time is up or its parent is gone, so even a killed calibration leaves no process behind.
PROGRAM = """
import hashlib, os, sys, time
parent, end_s = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
data = bytes(1 << 20)
os.write(1, b"busy")
while os.getppid() == parent and time.monotonic() < end_s:
    hashlib.sha512(data)
"""


@contextmanager
def busy_cpus(count: int, limit_s: float) -> Iterator[None]:
    """Keep logical CPUs busy for as long as the block runs.

    Args:
        count: number of logical CPUs.
        limit_s: maximum duration, even if the block runs longer.
    """
    with ExitStack() as ends:
        started = [_start(limit_s, ends) for _ in range(count)]
        for process in started:
            if process.stdout is not None:
                process.stdout.read(len(b"busy"))
        yield


def _start(limit_s: float, ends: ExitStack) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(  # noqa: S603 - our own interpreter, a fixed program
        [sys.executable, "-I", "-S", "-c", PROGRAM, str(os.getpid()), str(limit_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    # Popen's own context waits for the end of the process and closes the pipe. It is left after the kill.
    ends.enter_context(process)
    ends.callback(process.kill)
    return process
