"""Lock one: every attack by system call, tried inside the container of an execution."""

import json
import os

import pytest

from contracts.types import IsolationTier
from supervisor.adapters.docker_sandbox import DockerSandboxes
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.hardening import build_container_config, model_path
from tests.security.attacks import LOCK_ONE, PRELUDE, Attack
from tests.security.cell import LABELS, Cell, job_lines

pytestmark = pytest.mark.docker

STARTS = int(os.environ.get("WEOS_TEST_STARTS", "25"))
KILLED_BY_FILTER = 128 + 31  # SIGSYS
# Looks for the two bytes of `int 0x80` in the code that is mapped, and jumps there.
INT_0X80 = """
for line in open('/proc/self/maps'):
    span, rights, rest = line.split(maxsplit=2)
    start, end = (int(part, 16) for part in span.split('-'))
    if rights == 'r-xp' and not rest.rstrip().endswith(']'):
        found = ctypes.string_at(start, end - start).find(bytes((0xCD, 0x80)))
        if found >= 0:
            ctypes.CFUNCTYPE(ctypes.c_long)(start + found)()
"""


@pytest.fixture(scope="module")
def answers(cell: Cell) -> dict[str, str]:
    table = {attack.name: attack.code for attack in LOCK_ONE}
    script = f"{PRELUDE}\nprint(json.dumps({{name: eval(code) for name, code in {table!r}.items()}}))"
    ended = cell.run(script)
    assert (ended.status, ended.errors) == (0, b"")
    found: dict[str, str] = json.loads(ended.output)
    return found


@pytest.mark.parametrize("attack", LOCK_ONE, ids=lambda attack: attack.name)
def test_an_attack_is_blocked(attack: Attack, answers: dict[str, str]) -> None:
    assert answers[attack.name] == attack.blocked


# What becomes of a process that calls by another convention. gVisor has no int 0x80, so it faults; a number of x32's
# is a call that no rule names, in a kernel that has none of them.
CONVENTIONS: dict[IsolationTier, dict[str, tuple[bytes, int]]] = {
    "hardened": {"int 0x80": (b"", KILLED_BY_FILTER), "x32": (b"", KILLED_BY_FILTER)},
    "gvisor": {"int 0x80": (b"", 128 + 11), "x32": (b"EPERM\n", 0)},
}


@pytest.mark.parametrize(("convention", "attack"), [("int 0x80", INT_0X80), ("x32", "print(call(0x40000000 | 39))")])
def test_another_calling_convention_is_blocked(cell: Cell, convention: str, attack: str) -> None:
    ended = cell.run(f"{PRELUDE}\n{attack}")
    assert (ended.output, ended.status) == CONVENTIONS[cell.tier][convention]


def test_the_runner_starts_every_time(cell: Cell) -> None:
    lines = job_lines(cell.plan, cell.policies)
    for _ in range(STARTS):
        ended = cell.run(stdin=lines)
        assert (ended.status, ended.errors) == (0, b"")
        assert b'"type":"done"' in ended.output


def test_no_page_of_the_runner_is_writable_and_executable(cell: Cell) -> None:
    script = (
        "import sys; sys.path.insert(0, '/opt/weos/lib')\n"
        "from runner.protocol import Setup\n"
        "from runner.main import _load_llama\n"
        f"_load_llama(Setup({model_path(cell.policies.sandbox)!r}, 512, 2, 512, True))\n"
        "print([line for line in open('/proc/self/maps') if 'wx' in line.split()[1]])\n"
    )
    ended = cell.run(script)
    assert (ended.output, ended.status) == (b"[]\n", 0)


async def test_a_model_that_has_gone_is_told_as_such_and_leaves_nothing(cell: Cell, docker_host: str) -> None:
    config = build_container_config(
        cell.plan,
        cell.policies.sandbox,
        cell.policies.seccomp,
        model_source="/nonexistent/model",
        cpus=(0,),
        labels=LABELS,
        cgroup_driver="cgroupfs",
    )
    sandboxes = await DockerSandboxes.connect(docker_host, "test")
    try:
        with pytest.raises(ExecutionFault) as caught:
            async with sandboxes.open("exec_without_model", config, output_bytes=1000):
                pytest.fail("it started")
    finally:
        await sandboxes.close()
    assert caught.value.code == "sandbox_failed"
    assert cell.client.containers(all=True, filters={"name": "weos-exec-without-model"}) == []
