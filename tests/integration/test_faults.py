"""What breaks around an execution: the engine, the image, the model, the supervisor itself."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from contracts.verify.record import verify_record
from contracts.verify.trust import Trust
from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from supervisor.composition import serve
from supervisor.domain.errors import EngineError
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Relay, make_home, serving
from tests.integration.test_executions import LONG, until_gone

pytestmark = pytest.mark.docker
WAIT_S = 60


# The SDK leaves a socket that could not connect to the garbage collector.
LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@LEAVES_SOCKETS
async def test_an_engine_that_is_down_is_a_503_and_comes_back(own_home: Home, relay: Relay) -> None:
    async with serving(own_home, relay.url) as api:
        assert (await api.post_run(spec_request()))[0] == 200
        await relay.down()
        async with api.session.post("/v1/runs", json=spec_request()) as answer:
            problem = await answer.json(content_type=None)
            assert (answer.status, problem["code"]) == (503, "engine_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        assert (await api.get("/healthz"))["engine"] == "down"
        await relay.up()
        assert (await api.post_run(spec_request()))[0] == 200
        assert len((await api.get("/v1/runs"))["runs"]) == 2


@LEAVES_SOCKETS
async def test_an_engine_that_dies_in_mid_execution_leaves_one_failed_record(
    own_home: Home, relay: Relay, engine_client: docker.DockerClient
) -> None:
    async with serving(own_home, relay.url) as api:
        view = await api.started(LONG)
        await relay.down()
        final = await api.until(view["execution_id"], "failed")
        assert final["reason"]["code"] in {"engine_unavailable", "runner_failed"}
        record = await api.get_bytes(final["record"])
        assert verify_record(record, api.trust).verdict == "VALID"
        await relay.up()
        # What could not be removed then is removed when the engine is back.
        await until_gone(engine_client, view["container_id"])


async def test_a_missing_image_is_refused_with_the_mend(own_home: Home, docker_host: str) -> None:
    images = own_home.root / "images"
    installed = images.resolve()
    images.unlink()
    shutil.copytree(installed, images)
    record = json.loads((images / "cpu_avx2.json").read_text())
    record["image_id"] = "sha256:" + "0" * 64
    (images / "cpu_avx2.json").write_text(json.dumps(record))
    async with serving(own_home, docker_host) as api:
        status, problem = await api.post_run(spec_request())
        assert (status, problem["code"]) == (503, "image_missing")
        assert "weos-engine images build" in problem["detail"]
        assert (await api.get("/v1/runs"))["runs"] == []


async def test_an_altered_model_is_refused(own_home: Home, docker_host: str) -> None:
    models = own_home.root / "models"
    installed = models.resolve()
    models.unlink()
    # Copied files have other identities than the index says, as if they had been written to.
    shutil.copytree(installed, models)
    async with serving(own_home, docker_host) as api:
        status, problem = await api.post_run(spec_request())
        assert (status, problem["code"]) == (503, "model_altered")
        shutil.rmtree(next(path for path in models.iterdir() if path.is_dir()))
        status, problem = await api.post_run(spec_request())
        assert (status, problem["code"]) == (503, "model_missing")


@contextmanager
def supervisor_process(home: Home, docker_host: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {**os.environ, "WEOS_HOME": str(home.root), "DOCKER_HOST": docker_host}
    command = [sys.executable, "-m", "supervisor", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait(WAIT_S)


async def until_serving(home: Home, process: "subprocess.Popen[bytes]") -> EngineClient:
    client = EngineClient(home)
    async with asyncio.timeout(WAIT_S):
        while not await asyncio.to_thread(client.is_serving):
            assert process.poll() is None, process.stdout.read() if process.stdout else None
            await asyncio.sleep(0.05)
    return client


async def until_running(client: EngineClient) -> str:
    async with asyncio.timeout(WAIT_S):
        while True:
            for run in client.get("/v1/runs")["runs"]:
                if client.get(f"/v1/runs/{run['execution_id']}")["output"]:
                    return str(run["execution_id"])
            await asyncio.sleep(0.05)


async def begin_long_run(client: EngineClient) -> tuple[str, str]:
    """Begin a long execution in a thread of its own; return its id and container."""
    asyncio.get_running_loop().run_in_executor(None, _consume, client)
    execution_id = await until_running(client)
    return execution_id, client.get(f"/v1/runs/{execution_id}")["container_id"]


def _consume(client: EngineClient) -> None:
    try:
        for _ in client.stream_run(LONG):
            pass
    except EngineError:
        pass


async def test_a_killed_supervisor_leaves_no_container_and_exactly_one_aborted_record(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    with supervisor_process(own_home, docker_host) as first:
        client = await until_serving(own_home, first)
        execution_id, container_id = await begin_long_run(client)
        first.send_signal(signal.SIGKILL)
        first.wait(WAIT_S)
    with supervisor_process(own_home, docker_host) as second:
        client = await until_serving(own_home, second)
        view = client.get(f"/v1/runs/{execution_id}")
        assert (view["status"], view["reason"]["code"]) == ("aborted", "aborted")
        assert view["metrics"] is None
        record = client.get_bytes(view["record"])
        await until_gone(engine_client, container_id)
    assert verify_record(record, Trust.parse(own_home.trust_file.read_bytes())).verdict == "VALID"


async def test_a_supervisor_told_to_end_drains_and_records(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    with supervisor_process(own_home, docker_host) as process:
        client = await until_serving(own_home, process)
        execution_id, container_id = await begin_long_run(client)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, WAIT_S) == 0
        await until_gone(engine_client, container_id)
    async with serving(own_home, docker_host) as api:
        view = await api.get(f"/v1/runs/{execution_id}")
        assert view["status"] in {"aborted", "cancelled"}
        assert view["metrics"]["tokens_total"] > 0


async def test_a_second_supervisor_on_one_home_is_refused(own_home: Home, docker_host: str) -> None:
    async with serving(own_home, docker_host) as api:
        with supervisor_process(own_home, docker_host) as second:
            assert second.stdout is not None
            said = (await asyncio.to_thread(second.stdout.read)).decode()
            assert second.wait(WAIT_S) != 0
        assert f"process {os.getpid()}" in said
        assert "Traceback" not in said
        assert (await api.get("/healthz"))["status"] == "ok"


async def test_a_port_that_is_taken_is_said_so(tmp_path: Path, own_home: Home, docker_host: str) -> None:
    other = make_home(tmp_path / "other", own_home.models.resolve().parent)
    async with serving(own_home, docker_host) as api:
        port = int(api.listening.url.rsplit(":", 1)[1])
        with pytest.raises(EngineError, match=f"port {port}"):
            async with serve(other, docker_host, port=port):
                pass
