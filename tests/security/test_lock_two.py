"""Lock two: what a job needs goes on under it. Every attack on it is a row of `test_escape.py`."""

import json

import pytest

from supervisor.escape.cell import Cell, Ended
from tests.security.cell import job_lines

pytestmark = pytest.mark.docker

LOCKED = (
    "import os, sys; sys.path.insert(0, '/opt/weos/lib')\n"
    "import ctypes\n"
    "from runner.lockdown import load_program, lock_down\n"
    "lock_down(load_program())\n"
)
ALIVE = "os.write(1, b'alive')\n"


def locked(cell: Cell, script: str, stdin: bytes = b"") -> Ended:
    return cell.run(f"{LOCKED}{script}", stdin=stdin)


@pytest.mark.parametrize(
    "script",
    [
        "assert os.read(0, 5) == b'hello'",
        "kept = [bytearray(1 << 20) for _ in range(64)]; del kept",
        "grown = bytearray(1 << 20); grown.extend(bytes(1 << 24))",
    ],
    ids=["read and write", "memory", "memory that grows"],
)
def test_what_a_job_needs_goes_on(cell: Cell, script: str) -> None:
    ended = locked(cell, f"{script}\n{ALIVE}", stdin=b"hello")
    assert (ended.output, ended.status) == (b"alive", 0)


def test_a_failed_assertion_still_looks_like_one(cell: Cell) -> None:
    # The first process of a namespace is not ended by SIGABRT; the C library's abort then executes what it may not. In
    # gVisor it is.
    ended = locked(cell, "ctypes.CDLL(None).abort()\n")
    assert ended.reason == {"hardened": "SIGSEGV", "gvisor": "SIGABRT"}[cell.plan.isolation]


@pytest.mark.parametrize("program", ["bytes(8)", "bytes(7)", "b''"])
def test_without_its_second_lock_the_runner_takes_no_job(cell: Cell, program: str) -> None:
    script = (
        "import sys; sys.path.insert(0, '/opt/weos/lib')\n"
        "from pathlib import Path\n"
        "from runner import lockdown, main\n"
        "class Image:\n"
        "    def read_bytes(self):\n"
        f"        return {program}\n"
        "main.load_program = lambda: lockdown.load_program(Image())\n"
        "sys.exit(main.main())\n"
    )
    ended = cell.run(script, stdin=job_lines(cell.plan, cell.policies))
    assert [json.loads(line)["code"] for line in ended.output.splitlines()] == ["lockdown_failed"]
