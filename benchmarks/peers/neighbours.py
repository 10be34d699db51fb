"""Busy neighbours: one process for each CPU that computes without a pause."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["busy_neighbours"]

PROGRAM = "import os; os.sched_setaffinity(0, {%d})\nwhile True: pass"


@contextmanager
def busy_neighbours() -> Iterator[None]:
    """Keep every CPU busy with one process of ordinary priority while the block runs."""
    processes = [
        subprocess.Popen([sys.executable, "-S", "-c", PROGRAM % cpu], stdin=subprocess.DEVNULL)  # noqa: S603 - ours
        for cpu in sorted(os.sched_getaffinity(0))
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
