"""Lock one: what an execution needs goes on under it. Every attack on it is a row of `test_escape.py`."""

import os
from pathlib import Path

import pytest

from supervisor.adapters.docker.sandboxes import DockerSandboxes
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.hardening import build_container_config, model_path
from supervisor.domain.sandbox.recipe import recipe_of
from supervisor.escape.cell import Cell
from tests.security.cell import LABELS, job_lines

pytestmark = pytest.mark.docker

STARTS = int(os.environ.get("WEOS_TEST_STARTS", "25"))


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


async def test_a_model_that_has_gone_is_told_as_such_and_leaves_nothing(
    cell: Cell, docker_host: str, tmp_path: Path
) -> None:
    config = build_container_config(
        recipe_of(cell.plan),
        cell.policies.sandbox,
        cell.policies.seccomp,
        model_source="/nonexistent/model",
        cpus=(0,),
        labels=LABELS,
        cgroup_driver="cgroupfs",
    )
    sandboxes = await DockerSandboxes.connect(docker_host, "test", tmp_path)
    try:
        with pytest.raises(ExecutionFault) as caught:
            async with sandboxes.open("exec_without_model", config, model="none", output_bytes=1000):
                pytest.fail("it started")
    finally:
        await sandboxes.close()
    assert caught.value.code == "sandbox_failed"
    assert cell.client.containers(all=True, filters={"name": "weos-exec-without-model"}) == []
