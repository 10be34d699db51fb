"""The runner of the test image: the real one's course, in which one step is replaced by a misbehaviour.

It runs inside the container, beside the real runner's modules. The context size of the set-up says which row of the
table it plays; a row that begins before the set-up is named by the image's command.
"""

import _thread
import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/weos/lib")

from runner import main as honest
from runner.channel import EVENT_FD, LineReader, take_private_stdout
from runner.ending import exit_on_abort
from runner.events import ready_event
from runner.lockdown import load_program, lock_down
from runner.protocol import parse_setup
from runner.session import LoadedModel

TABLE = Path("/opt/weos/misbehaviours.json")
STDERR_FD = 2

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
PROMPT: dict[str, Any] = {"type": "prompt", "tokens": 5}
DONE: dict[str, Any] = {"type": "done", "finish_reason": "eos", "tokens": 2, "text": ""}
READY: dict[str, Any] = {}


def token(index: int = 0, **changes: Any) -> dict[str, Any]:
    """One token event; keyword arguments replace fields."""
    return {"type": "token", "index": index, "token_id": 1, "text": "x"} | changes


def raw(data: bytes, fd: int = EVENT_FD) -> None:
    """Write bytes, all of them."""
    pending = memoryview(data)
    while pending:
        pending = pending[os.write(fd, pending) :]


def line(event: dict[str, Any]) -> bytes:
    """One event as a line."""
    return json.dumps(event).encode("ascii") + b"\n"


def say(*events: dict[str, Any]) -> None:
    """Write events, each at once."""
    for event in events:
        raw(line(event))


def flood(data: bytes, fd: int = EVENT_FD) -> None:
    """Write the same bytes for ever."""
    while True:
        raw(data, fd)


def hang() -> None:
    """Say nothing for ever: a lock that nobody opens needs no system call that a lock forbids."""
    gate = _thread.allocate_lock()
    while True:
        gate.acquire()


def spin(seconds: float) -> None:
    """Let time pass without asking the kernel to wait."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def drip(data: bytes) -> None:
    """Write a byte a second."""
    for index in range(len(data)):
        raw(data[index : index + 1])
        spin(1)


def eat() -> None:
    """Take memory and use it, for ever."""
    kept = []
    while True:
        kept.append(bytearray(b"\xff") * (1 << 24))


def allowed(*attempts: Any) -> int:
    """Return how many attempts end without an error."""
    count = 0
    for attempt in attempts:
        try:
            attempt()
            count += 1
        except (OSError, RuntimeError):
            pass
    return count


def threads() -> int:
    """Start threads until no more can be had, and return how many there were."""
    started = 0
    try:
        while started < 10_000:
            _thread.start_new_thread(hang, ())
            started += 1
    except RuntimeError:
        pass
    return started


def writing(path: str) -> Any:
    """An attempt to make or to change a file; as a kernel's file, to give oneself more than one has."""

    def attempt() -> None:
        descriptor = os.open(path, os.O_WRONLY if Path(path).exists() else os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"-1")

    return attempt


def jump_to(code: bytes) -> None:
    """Execute bytes that stand somewhere in what is mapped to be executed."""
    for row in Path("/proc/self/maps").read_text().splitlines():
        span, rights, rest = row.split(maxsplit=2)
        start, end = (int(part, 16) for part in span.split("-"))
        if rights == "r-xp" and not rest.rstrip().endswith("]"):
            found = ctypes.string_at(start, end - start).find(code)
            if found >= 0:
                ctypes.CFUNCTYPE(ctypes.c_long)(start + found)()


def beyond_its_end() -> int:
    """Return the address of a page that the mapped file does not reach."""
    descriptor = os.open("/opt/weos/build.json", os.O_RDONLY)
    start: int = libc.mmap(None, 8192, 1, 2, descriptor, 0)
    return start + 4096


class Course:
    """The protocol, once; the step that the row names is replaced by the row's code."""

    def __init__(self, row: dict[str, str] | None) -> None:
        exit_on_abort()
        take_private_stdout()
        self._row = row

    def _at(self, step: str) -> bool:
        if self._row is None or self._row["step"] != step:
            return False
        exec(compile(self._row["code"], self._row["name"], "exec"), globals())  # noqa: S102 - the table is the test's
        return True

    def run(self, table: dict[str, dict[str, str]]) -> None:
        """Play."""
        self._at("start")
        reader = LineReader(0)
        setup = parse_setup(reader.read_line() or b"")
        self._row = self._row or table[str(setup.context_tokens)]
        self._at("set-up")
        loaded = honest._load_llama(setup)
        READY.update(_ready(loaded))
        if not self._at("lock"):
            lock_down(load_program())
        if not self._at("ready"):
            say(READY)
        reader.read_line()
        if not self._at("job"):
            say(PROMPT, token(0), token(1), DONE)
        reader.read_line()
        self._at("end")


def _ready(loaded: LoadedModel) -> dict[str, Any]:
    build = json.loads(honest.BUILD_FILE.read_text(encoding="utf-8"))
    return ready_event(
        build["backend"], build["llama_cpp_version"], loaded.cpu_features, loaded.info, build["lockdown_policy"]
    )


def main() -> None:
    """Run as the test image's entry point."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    named = next((row for row in table.values() if row["name"] in sys.argv[1:]), None)
    Course(named).run(table)


if __name__ == "__main__":
    main()
