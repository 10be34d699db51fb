"""A GPU's power limit that a killed supervisor left behind, on the stand-in device, and the real supervisor's start."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from tests.nvml_stand_in import LEASE, StandIn, build_stand_in
from tests.places import REPOSITORY

pytestmark = pytest.mark.docker

WAIT_S = 120
DIE = "lease(lambda _metering: os.kill(os.getpid(), signal.SIGKILL))"


@pytest.fixture
def gpu(tmp_path: Path) -> StandIn:
    return StandIn(build_stand_in(tmp_path), tmp_path / "device")


@contextmanager
def supervisor_on(home: Home, gpu: StandIn, docker_host: str, said: Path) -> Iterator[None]:
    """Have the supervisor of the product serve until the end of the block."""
    environment = {**gpu.environment(), "WEOS_HOME": str(home.root), "DOCKER_HOST": docker_host}
    command = [sys.executable, "-m", "supervisor", "serve", "--port", "0"]
    with (
        said.open("wb") as log,
        subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + WAIT_S
            while not home.address_file.exists() or not EngineClient(home).is_serving():
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(WAIT_S)


def test_the_next_start_puts_back_what_a_killed_supervisor_set_or_says_how(
    own_home: Home, gpu: StandIn, docker_host: str, tmp_path: Path
) -> None:
    gpu.run(LEASE + DIE, own_home.root, status=-9)
    set_mw = gpu.get("limit_mw")
    assert set_mw != "300000"
    doctor = [sys.executable, "-m", "supervisor", "doctor"]
    environment = {**os.environ, "WEOS_HOME": str(own_home.root), "DOCKER_HOST": docker_host, "COLUMNS": "300"}
    shown = subprocess.run(
        doctor, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert "had 300 W" in shown.stdout
    gpu.set(error="nvmlDeviceSetPowerManagementLimit 4")
    with supervisor_on(own_home, gpu, docker_host, tmp_path / "said"):
        assert gpu.get("limit_mw") == set_mw
        assert own_home.gpu_limit.exists()
    said = (tmp_path / "said").read_text()
    assert "power_limit_not_restored" in said
    assert "nvidia-smi -i GPU-" in said
    gpu.set(error=None)
    with supervisor_on(own_home, gpu, docker_host, tmp_path / "said"):
        assert gpu.get("limit_mw") == "300000"
        assert not own_home.gpu_limit.exists()
    assert "put back the power limit of Stand-in Graphics 1 (300 W)" in (tmp_path / "said").read_text()
