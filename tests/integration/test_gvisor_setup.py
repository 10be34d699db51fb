"""`make gvisor` against a container engine of the test's own: a real dockerd, with a configuration of its own."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from supervisor.adapters.docker.sandboxes import DockerSandboxes
from supervisor.domain.errors import ExecutionFault, SetupError
from supervisor.setup.host.container_engine import is_answering, this_host
from supervisor.setup.host.gvisor import ContainerEngine, ensure_gvisor
from supervisor.setup.host.programs import find_program
from supervisor.setup.images.runtime_image import build_runtime_image
from tests import gvisor_tier
from tests.fakes.installation import fixed_installation
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

TIER = fixed_installation().policies.sandbox.isolation.gvisor
START_PATIENCE_S = 60


@dataclass
class Daemon:
    """A dockerd that has nothing to do with the machine's own."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "daemon.json"

    @property
    def url(self) -> str:
        return f"unix://{self.root}/s"

    def engine(self) -> ContainerEngine:
        return ContainerEngine.at(self.url, this_host())

    def ensure(self, *, consent: bool) -> None:
        ensure_gvisor(self.root / "home", this_host(), self.engine(), SilentProgress(), consent=consent)

    def client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.url, timeout=60)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    if find_program("runsc") is None:
        pytest.skip(f"{gvisor_tier.REASON}runsc is not installed. To try it: make gvisor YES=1")
    # A Unix socket's path has room for about 100 bytes.
    root = Path(tempfile.mkdtemp(prefix="wd"))
    (root / "daemon.json").write_text('{"labels": ["of=theirs"]}')
    directories = {"data-root": "d", "exec-root": "e", "pidfile": "p"}
    command = [
        # In a network namespace of its own: with `--bridge none` it would delete the machine's own docker0.
        *("unshare", "--net", "--"),
        *("dockerd", "--config-file", str(root / "daemon.json"), "--host", f"unix://{root}/s"),
        *(part for name, place in directories.items() for part in (f"--{name}", str(root / place))),
        *("--bridge", "none", "--iptables=false"),
    ]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_PATIENCE_S
        while not is_answering(f"unix://{root}/s"):
            assert process.poll() is None, (root / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Daemon(root)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(root, ignore_errors=True)


def test_an_engine_that_was_here_before_learns_of_gvisor_only_when_told_to(daemon: Daemon) -> None:
    before = daemon.config.read_text()
    with pytest.raises(SetupError, match="make gvisor YES=1") as caught:
        daemon.ensure(consent=False)
    assert caught.value.code == "consent_needed"
    assert daemon.config.read_text() == before
    assert TIER.runtime not in daemon.engine().runtimes()

    daemon.ensure(consent=True)
    registered = daemon.engine().runtimes()[TIER.runtime]
    assert (registered.arguments, registered.is_installed) == (TIER.arguments, True)
    assert json.loads(daemon.config.read_text())["labels"] == ["of=theirs"]
    (kept,) = daemon.root.glob("daemon.json.before-weos-*")
    assert kept.read_text() == before


def test_a_second_time_nothing_is_done(daemon: Daemon) -> None:
    daemon.ensure(consent=True)
    after = daemon.config.stat()
    daemon.ensure(consent=False)
    assert daemon.config.stat() == after


def test_no_process_is_guessed_for_an_address_that_nobody_serves(daemon: Daemon) -> None:
    assert ContainerEngine.at(f"unix://{daemon.root}/nobody", this_host()).process is None
    assert ContainerEngine.at("tcp://127.0.0.1:1", this_host()).process is None


async def test_a_runtime_that_cannot_start_is_told_as_such_and_leaves_no_container(
    daemon: Daemon, weos_home: Path, docker_host: str
) -> None:
    broken = daemon.root / "runsc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    config: dict[str, Any] = json.loads(daemon.config.read_text())
    config["runtimes"]["broken"] = {"path": str(broken)}
    daemon.config.write_text(json.dumps(config))
    engine = daemon.engine()
    engine.reload()
    while "broken" not in engine.runtimes():  # noqa: ASYNC110 - the engine tells nobody that it has read it
        await asyncio.sleep(0.05)
    image = build_runtime_image(weos_home, "cpu_avx2", SilentProgress(), docker_host).image_id
    theirs, ours = docker.APIClient(base_url=docker_host), daemon.client()
    ours.load_image(b"".join(theirs.get_image(image)))  # type: ignore[no-untyped-call] # stubs lack it
    sandboxes = await DockerSandboxes.connect(daemon.url, "0" * 32, weos_home)
    body = {"Image": image, "Labels": {}, "HostConfig": {"Runtime": "broken", "NetworkMode": "none"}}
    try:
        with pytest.raises(ExecutionFault) as caught:
            async with sandboxes.open("exec_" + "0" * 32, body, model="none", output_bytes=1000):
                pytest.fail("it started")
        assert caught.value.code == "isolation_unavailable"
        assert ours.containers(all=True) == []
    finally:
        await sandboxes.close()
        theirs.close()
        ours.close()
