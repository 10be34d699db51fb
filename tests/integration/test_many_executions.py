"""Many executions in a row leave nothing behind: WEOS_TEST_EXECUTIONS says how many."""

import asyncio
import gc
import os
from pathlib import Path
from typing import Any, NamedTuple

import docker
import psutil

from supervisor.adapters.home import Home
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, serving

EXECUTIONS = int(os.environ.get("WEOS_TEST_EXECUTIONS", "20"))
# The first ones fill pools of threads and connections.
WARM_UP = 5
PATIENCE_S = 120
# Pools of threads still grow by some now and then; a leak would be one for each execution.
POOL_SLACK = 4
# The allocator keeps pages: 10 kB for each execution in a row of 500 would be 5 MB.
MEMORY_SLACK_BYTES = 4_000_000
MEMORY_PER_EXECUTION_BYTES = 10_000


class Held(NamedTuple):
    """What the supervisor and the machine hold at one moment."""

    containers: int
    volumes: int
    descriptors: int
    threads: int
    mounts: int
    control_groups: int


def held(client: docker.APIClient, home: Home, containers: list[str]) -> Held:
    gc.collect()
    process = psutil.Process()
    groups = {path.name for pattern in ("*/*/*", "*/*") for path in Path("/sys/fs/cgroup").glob(pattern)}
    mine = {"label": f"weos.instance={home.instance_id()}"}
    volumes = client.volumes(filters={"dangling": True})["Volumes"] or []
    return Held(
        containers=len(client.containers(all=True, filters=mine)),
        volumes=sum((volume["Options"] or {}).get("device", "").startswith(str(home.root)) for volume in volumes),
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
        control_groups=len(groups.intersection(containers)),
    )


async def execute(api: Api, request: dict[str, Any]) -> str:
    status, body = await api.post_run(request)
    assert status == 200, body
    return str(body["container_id"])


async def test_many_executions_in_a_row_leave_nothing_behind(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    request = spec_request()
    request["execution"]["limits"]["max_tokens"] = 2
    async with serving(own_home, docker_host) as api:
        containers = [await execute(api, request) for _ in range(WARM_UP)]
        before, memory_before = held(engine_client.api, own_home, containers), psutil.Process().memory_info().rss
        containers += [await execute(api, request) for _ in range(EXECUTIONS)]
        after, memory_after = held(engine_client.api, own_home, containers), psutil.Process().memory_info().rss
        # The last ones are still being removed, and whatever else uses the container engine has mounts too.
        async with asyncio.timeout(PATIENCE_S):
            while after.containers or after.control_groups or after.mounts > before.mounts:
                await asyncio.sleep(1)
                after = held(engine_client.api, own_home, containers)
    assert len(set(containers)) == len(containers)
    print(f"{EXECUTIONS} executions: {before} -> {after}, memory {memory_before} -> {memory_after}")  # noqa: T201 - figures
    assert after.containers == after.volumes == after.control_groups == 0
    assert after.descriptors <= before.descriptors
    assert after.threads <= before.threads + POOL_SLACK
    assert after.mounts <= before.mounts
    assert memory_after - memory_before < MEMORY_SLACK_BYTES + MEMORY_PER_EXECUTION_BYTES * EXECUTIONS
