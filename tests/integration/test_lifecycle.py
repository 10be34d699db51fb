"""The end of a supervisor, and what an earlier one leaves to it: every accepted execution has one record."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest

from contracts.verify.record import verify_record
from supervisor.adapters.docker.sandboxes import DockerSandboxes
from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from supervisor.composition import serve
from supervisor.domain.errors import EngineError
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import serving
from tests.integration.test_executions import LONG, container_exists, until_gone
from tests.integration.test_faults import WAIT_S, begin_long_run, supervisor_process, until_running, until_serving

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.docker

SHORT = spec_request()


def end_of(client: EngineClient, request: dict[str, Any]) -> dict[str, Any]:
    """The last event of a stream, or the problem that a request was refused with."""
    try:
        return list(client.stream_run(request))[-1].document
    except EngineError as error:
        return {"code": error.code}


async def until_refusing(client: EngineClient) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await asyncio.to_thread(end_of, client, SHORT)).get("code") != "shutting_down":  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.05)


async def ended_well(process: "subprocess.Popen[bytes]") -> None:
    assert await asyncio.to_thread(process.wait, WAIT_S) == 0


async def test_told_to_end_what_runs_may_end_and_nothing_new_begins(own_home: Home, docker_host: str) -> None:
    with supervisor_process(own_home, docker_host) as process:
        client = await until_serving(own_home, process)
        running = asyncio.create_task(asyncio.to_thread(end_of, client, SHORT))
        waiting = asyncio.create_task(asyncio.to_thread(end_of, client, SHORT))
        await until_running(client)
        process.send_signal(signal.SIGTERM)
        await until_refusing(client)
        assert (await running)["status"] == "completed"
        # It may begin where the drain has time left.
        last = await waiting
        assert last.get("status", last.get("code")) in {"completed", "aborted"}
        await ended_well(process)
    async with serving(own_home, docker_host) as api:
        assert api.listening.recovered == 0
        assert len((await api.get("/v1/runs"))["runs"]) == 2


async def test_told_twice_it_ends_what_runs_and_what_waits_and_records_both(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    with supervisor_process(own_home, docker_host) as process:
        client = await until_serving(own_home, process)
        execution_id, container_id = await begin_long_run(client)
        waiting = asyncio.create_task(asyncio.to_thread(end_of, client, LONG))
        async with asyncio.timeout(WAIT_S):
            while len(client.get("/v1/runs")["runs"]) < 2:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        await until_refusing(client)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert (await waiting)["code"] == "aborted"
        await ended_well(process)
        await until_gone(engine_client, container_id)
    async with serving(own_home, docker_host) as api:
        assert api.listening.recovered == 0
        runs = (await api.get("/v1/runs"))["runs"]
        assert [run["status"] for run in runs] == ["aborted"] * 2
        for run in runs:
            record = await api.get_bytes(f"/v1/runs/{run['execution_id']}/record")
            assert verify_record(record, api.trust).verdict == "VALID"
        assert (await api.get(f"/v1/runs/{execution_id}"))["metrics"]["tokens_total"] > 0


async def test_a_container_that_appears_late_is_removed_and_the_one_that_works_is_not(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    async with serving(own_home, docker_host, reap_every_s=0.1) as api:
        view = await api.started(LONG)
        # As when the engine makes what a supervisor asked for that was killed since.
        late = engine_client.api.create_container(
            (await api.get("/v1/backends"))["backends"][0]["image"], labels={"weos.instance": own_home.instance_id()}
        )["Id"]
        await until_gone(engine_client, late)
        assert container_exists(engine_client, view["container_id"])
        async with api.session.delete(f"/v1/runs/{view['execution_id']}") as answer:
            assert (await answer.json())["status"] == "cancelled"


async def test_an_address_that_a_killed_supervisor_left_is_gone_before_the_next_one_serves(
    own_home: Home, docker_host: str
) -> None:
    with supervisor_process(own_home, docker_host) as process:
        await until_serving(own_home, process)
        process.kill()
        process.wait(WAIT_S)
    assert "address" in (each.name for each in own_home.address_file.parent.iterdir())
    own_home.token_file.chmod(0o644)
    with pytest.raises(EngineError, match="others may read"):
        async with serving(own_home, docker_host):
            pass
    assert "address" not in (each.name for each in own_home.address_file.parent.iterdir())


def tcp_listeners() -> set[str]:
    """The sockets of this process that listen on TCP, by inode; /proc/net/tcp says 0A of a listener."""
    own = {str(link.readlink()) for link in list(Path("/proc/self/fd").iterdir()) if link.is_symlink()}
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}


async def test_without_a_port_the_api_is_on_the_socket_alone(own_home: Home, docker_host: str) -> None:
    before = tcp_listeners()
    async with serve(own_home, docker_host, port=0):
        assert len(tcp_listeners() - before) == 1
    async with serve(own_home, docker_host, port=None) as listening:
        assert tcp_listeners() == before
        assert await asyncio.to_thread(EngineClient(own_home).is_serving)
        assert listening.url == "http://localhost"


async def test_a_volume_that_no_container_has_is_removed_and_those_of_others_are_not(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    # As the engine leaves one behind that is killed while it removes a container.
    ours, others = (
        engine_client.api.create_volume(labels={"weos.instance": instance})["Name"]
        for instance in (own_home.instance_id(), "another")
    )
    try:
        async with serving(own_home, docker_host, reap_every_s=0.1), asyncio.timeout(60):
            while ours in volume_names(engine_client):  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.1)
        assert others in volume_names(engine_client)
    finally:
        engine_client.api.remove_volume(others)


def volume_names(client: docker.DockerClient) -> set[str]:
    return {each["Name"] for each in client.api.volumes()["Volumes"]}


async def test_a_volume_that_was_in_use_at_the_last_look_is_left_alone(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    sandboxes = await DockerSandboxes.connect(docker_host, own_home.instance_id(), own_home.root)
    labels = {"weos.instance": own_home.instance_id()}
    try:
        # As one that is being made for a container which is not there yet.
        name = engine_client.api.create_volume(labels=labels)["Name"]
        await sandboxes.reap()
        assert name in volume_names(engine_client)
        await sandboxes.reap()
        assert name not in volume_names(engine_client)
    finally:
        await sandboxes.close()


async def test_a_start_that_is_given_up_halfway_leaves_no_container_and_no_descriptor(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    async with serving(own_home, docker_host) as api:
        image = (await api.get("/v1/backends"))["backends"][0]["image"]
    instance = own_home.instance_id()
    config: dict[str, Any] = {"Image": image, "Labels": {}, "HostConfig": {"Runtime": "runc", "Mounts": []}}
    config |= {"OpenStdin": True, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
    sandboxes = await DockerSandboxes.connect(docker_host, instance, own_home.root)
    started = asyncio.Event()

    def begin(container_id: str, *, start: Any = sandboxes._start) -> Any:
        loop.call_soon_threadsafe(started.set)
        return start(container_id)

    async def stay(name: str) -> None:
        async with sandboxes.open(name, config, model="none", output_bytes=1000):
            await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    sandboxes._start = begin  # type: ignore[method-assign] # so that the test knows the moment
    try:
        counts = []
        for number in range(4):
            started.clear()
            task = asyncio.create_task(stay(f"weos-given-up-{instance}-{number}"))
            await started.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            counts.append(pidfds())
        assert counts == [0] * 4
    finally:
        await sandboxes.close()
    assert engine_client.api.containers(all=True, filters={"label": f"weos.instance={instance}"}) == []


def pidfds() -> int:
    """How many processes this one holds."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(str(descriptor.readlink()))
    return sum("pidfd" in link for link in links)
