"""Programs of the host that set-up runs: with a deadline, their output kept for when they fail."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence

from supervisor.domain.errors import SetupError

__all__ = ["find_program", "run_command", "system_path"]

LINES_SHOWN = 10
# dockerd and debootstrap lie here, and the PATH of `su` without a login leaves it out.
SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"


def system_path() -> str:
    """Return PATH with the administrator's directories."""
    return f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_DIRECTORIES}"


def find_program(name: str) -> str | None:
    """Return a program's path, None if it is not installed."""
    return shutil.which(name, path=system_path())


def run_command(
    command: Sequence[str],
    *,
    timeout_s: float,
    code: str,
    purpose: str,
    on_line: Callable[[str], None] = lambda _line: None,
) -> None:
    """Run a program and hand over its output line by line.

    Raises:
        SetupError: with `code`; the message has the last lines of output.
    """
    shown = " ".join(command)
    lines: list[str] = []
    try:
        process = subprocess.Popen(  # noqa: S603 - callers pass fixed programs, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={
                **os.environ,
                "DEBIAN_FRONTEND": "noninteractive",
                "LC_ALL": "C.UTF-8",
                "PATH": system_path(),
            },
            # Its own group, so that the deadline ends its children too.
            start_new_session=True,
        )
    except OSError as error:
        message = f"{command[0]} cannot be run ({error.strerror}); it is needed to {purpose}"
        raise SetupError(code, message) from error
    timer = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        with process:
            for line in process.stdout or ():
                lines = [*lines[-(LINES_SHOWN - 1) :], line.rstrip()]
                on_line(line.rstrip())
    finally:
        timer.cancel()
    if process.returncode != 0:
        tail = "\n  ".join(lines)
        message = (
            f"cannot {purpose}: {shown} ended with status {process.returncode} "
            f"(deadline {timeout_s:.0f} s). Its last lines:\n  {tail}"
        )
        raise SetupError(code, message)
