"""`deploy/compose.yaml` as an operator uses it: up, the specification's request, VALID, down."""

import asyncio
import re
import shutil
import subprocess
import uuid
from pathlib import Path

import docker
import pytest
import yaml
from docker.models.containers import Container
from pytest_docker.plugin import get_docker_services

from contracts.verify.record import verify_record
from contracts.verify.trust import Trust
from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from supervisor.setup.images.supervisor_image import build_supervisor_image
from tests.fakes.run_requests import spec_request
from tests.places import REPOSITORY
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker
WAIT_S = 120
OLDEST = (2, 15)
COMPOSE_FILE = REPOSITORY / "deploy" / "compose.yaml"


def compose_program() -> str:
    """The Compose of this machine; older ones do not know `cgroup: host`."""
    for program in filter(lambda each: shutil.which(each.split()[0]), ("docker compose", "docker-compose")):
        asked = subprocess.run([*program.split(), "version", "--short"], capture_output=True, text=True, check=False)
        found = re.match(r"v?(\d+)\.(\d+)", asked.stdout)
        if asked.returncode == 0 and found and (int(found[1]), int(found[2])) >= OLDEST:
            return program
    pytest.skip("deploy/compose.yaml was not tried: this machine has no Compose of version 2.15 or newer")


def container_of(engine_client: docker.DockerClient, project: str) -> Container:
    [container] = engine_client.containers.list(all=True, filters={"label": f"com.docker.compose.project={project}"})
    return container


async def test_the_specification_s_request_is_executed_by_the_composed_supervisor(
    own_home: Home,
    weos_home: Path,
    docker_host: str,
    engine_client: docker.DockerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image_id = await asyncio.to_thread(build_supervisor_image, weos_home, SilentProgress(), docker_host)
    monkeypatch.setenv("WEOS_HOME", str(own_home.root))
    monkeypatch.setenv("WEOS_IMAGE", image_id)
    monkeypatch.setenv("WEOS_ENGINE_SOCKET", docker_host.removeprefix("unix://"))
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    # Models and images of the test's home are those of the installation.
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump({"services": {"supervisor": {"volumes": [f"{weos_home}:{weos_home}"]}}}))
    project = f"weos-test-{uuid.uuid4().hex[:8]}"
    files = [str(COMPOSE_FILE), str(more)]
    # Started inside the block, so that a container that does not start goes too.
    with get_docker_services(compose_program(), files, project, [], ["down --volumes"]) as services:
        await asyncio.to_thread(services._docker_compose.execute, "up --detach --wait")
        await asyncio.to_thread(execute_and_verify, own_home)
        container = container_of(engine_client, project)
        assert container.attrs["State"]["Health"]["Status"] == "healthy"
        await asyncio.to_thread(container.stop, timeout=WAIT_S)
        assert container.wait()["StatusCode"] == 0, container.logs().decode()


def execute_and_verify(home: Home) -> None:
    client = EngineClient(home)
    events = list(client.stream_run(spec_request()))
    assert events[-1].name == "done", events[-1]
    record = client.get_bytes(events[-1].document["record"])
    assert verify_record(record, Trust.parse(home.trust_file.read_bytes())).verdict == "VALID"


def test_without_a_home_compose_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEOS_HOME", raising=False)
    command = [*compose_program().split(), "-f", str(COMPOSE_FILE), "config"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert told.returncode != 0
    assert "set it to the home that make setup prepared" in told.stderr
