"""Lock two: what an attacker can still do in a process that knows the prompt."""

import json

import pytest

from tests.security.attacks import KILLED, LOCK_TWO, LOCKED_PRELUDE, Attack
from tests.security.cell import Cell, Ended, job_lines

pytestmark = pytest.mark.docker

KILLED_BY_LOCK = 128 + 31  # SIGSYS
LOCK = "lock_down(program)\n"
ALIVE = "os.write(1, b'alive')\n"


def locked(cell: Cell, script: str, stdin: bytes = b"") -> Ended:
    return cell.run(f"{LOCKED_PRELUDE}\n{LOCK}{script}", stdin=stdin)


def answers_of(attacks: list[Attack]) -> str:
    table = {attack.name: attack.code for attack in attacks}
    return f"print(json.dumps({{name: eval(code) for name, code in {table!r}.items()}}), flush=True)\n"


@pytest.fixture(scope="module")
def answers_without(cell: Cell) -> dict[str, str]:
    """What the same attempts answer under lock one alone."""
    # What would take the interpreter's own descriptors away goes last.
    attacks = sorted(LOCK_TWO, key=lambda attack: attack.code in {"call(3, 0)"})
    ended = cell.run(f"{LOCKED_PRELUDE}\n{answers_of(attacks)}")
    assert (ended.status, ended.errors) == (0, b"")
    answers: dict[str, str] = json.loads(ended.output)
    return answers


@pytest.mark.parametrize(
    "attack", [attack for attack in LOCK_TWO if attack.blocked == KILLED], ids=lambda attack: attack.name
)
def test_an_attack_ends_the_process(cell: Cell, attack: Attack) -> None:
    ended = locked(cell, f"{attack.code}\n{ALIVE}")
    assert (ended.output, ended.status) == (b"", KILLED_BY_LOCK)


def test_what_libraries_try_is_refused(cell: Cell) -> None:
    refused = [attack for attack in LOCK_TWO if attack.blocked != KILLED]
    ended = locked(cell, answers_of(refused))
    assert ended.status == 0
    assert json.loads(ended.output) == {attack.name: attack.blocked for attack in refused}


# gVisor gives nobody his memory to write to, and has no such advice about memory.
WITHOUT_IN_GVISOR = {
    "open own memory to write": "EACCES",
    "move to a place in own memory": "EBADF",
    "write own memory": "EBADF",
    "push a file's pages out": "EINVAL",
}


@pytest.mark.parametrize(
    "attack", [attack for attack in LOCK_TWO if attack.without != "any"], ids=lambda attack: attack.name
)
def test_without_the_second_lock_it_would_not_be_so(
    cell: Cell, attack: Attack, answers_without: dict[str, str]
) -> None:
    differing = WITHOUT_IN_GVISOR if cell.tier == "gvisor" else {}
    assert answers_without[attack.name] == differing.get(attack.name, attack.without)


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


def test_the_end_of_one_thread_is_the_end_of_all(cell: Cell) -> None:
    script = (
        "go = _thread.allocate_lock(); go.acquire()\n"
        "def wait():\n"
        "    go.acquire(True, 5)\n"
        "    os.write(1, b'alive')\n"
        "_thread.start_new_thread(wait, ())\n"
        f"{LOCK}"
        "call(41, 1, 1, 0)\n"
        "go.acquire(True, 5)\n"
    )
    ended = cell.run(f"{LOCKED_PRELUDE}\n{script}")
    assert (ended.output, ended.status) == (b"", KILLED_BY_LOCK)


def test_a_thread_that_was_there_before_is_locked_too(cell: Cell) -> None:
    script = (
        "import time\n"
        "go = _thread.allocate_lock(); go.acquire()\n"
        "def attack():\n"
        "    go.acquire()\n"
        "    call(41, 1, 1, 0)\n"
        "    os.write(1, b'alive')\n"
        "_thread.start_new_thread(attack, ())\n"
        f"{LOCK}"
        "go.release()\n"
        "os.read(0, 1)\n"
        "go.acquire(True, 5)\n"
    )
    ended = cell.run(f"{LOCKED_PRELUDE}\n{script}")
    assert (ended.output, ended.status) == (b"", KILLED_BY_LOCK)


def test_a_failed_assertion_still_looks_like_one(cell: Cell) -> None:
    # The first process of a namespace is not ended by SIGABRT; the C library's abort then executes what it may not. In
    # gVisor it is.
    ended = locked(cell, "libc.abort()\n")
    assert ended.status == 128 + {"hardened": 11, "gvisor": 6}[cell.tier]


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
