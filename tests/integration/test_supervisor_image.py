"""The supervisor in a container of its own executes, and measures, like one on the host."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import docker
import pytest

from contracts.execution.calibration import CalibrationStep
from contracts.verify.record import verify_record
from contracts.verify.trust import Trust
from supervisor.adapters.files import write_private
from supervisor.adapters.home import Home
from supervisor.adapters.identity.engine_version import development_version
from supervisor.adapters.kernel.host import read_fingerprint
from supervisor.client.engine_client import EngineClient
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.power.calibration import Interval, measure_calibration
from supervisor.setup.images.supervisor_image import build_supervisor_image
from tests.fakes.run_requests import spec_request
from tests.powercap import PowercapHost
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker
WAIT_S = 60


def calibrated_machine(root: Path, home: Home) -> None:
    """Make what stands for the host's /sys, /proc and /etc, and a calibration of it."""
    machine = PowercapHost(root)
    machine.add_zone("intel-rapl:0", "package-0")
    found = measure_calibration(
        [Interval(10**9, 5_000_000, 0)] * 3,
        [CalibrationStep(busy_cpus=1, power_mw=9000)],
        domains=("package-0",),
        host=read_fingerprint(root),
        engine_version="0.1.0",
        now=datetime.now(UTC),
    )
    write_private(home.calibration, found.canonical())


# "host" is what docs/deploying.md says; in a namespace of its own the supervisor sees control groups as "/../…".
@pytest.mark.parametrize("cgroup_namespace", ["host", "private"])
async def test_a_supervisor_in_a_container_executes_and_signs_and_has_the_counters_that_are_mounted(
    own_home: Home,
    weos_home: Path,
    docker_host: str,
    engine_client: docker.DockerClient,
    tmp_path: Path,
    cgroup_namespace: Literal["host", "private"],
) -> None:
    calibrated_machine(tmp_path / "machine", own_home)
    image_id = await asyncio.to_thread(build_supervisor_image, weos_home, SilentProgress(), docker_host)
    socket = docker_host.removeprefix("unix://")
    container = engine_client.containers.run(
        image_id,
        ["serve", "--port", "0"],
        detach=True,
        network_mode="none",
        pid_mode="host",
        cgroupns=cgroup_namespace,
        cap_add=["SYS_PTRACE", "SYS_ADMIN", "SYS_NICE"],
        security_opt=["seccomp=unconfined"],
        environment={"WEOS_HOME": str(own_home.root), "WEOS_HOST_ROOT": "/host"},
        volumes={
            socket: {"bind": "/var/run/docker.sock", "mode": "rw"},
            # The same path on both sides: the container engine mounts models by the host's paths.
            str(own_home.root): {"bind": str(own_home.root), "mode": "rw"},
            str(weos_home): {"bind": str(weos_home), "mode": "rw"},
            "/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"},
            str(tmp_path / "machine"): {"bind": "/host", "mode": "ro"},
        },
    )
    try:
        client = EngineClient(own_home)
        async with asyncio.timeout(WAIT_S):
            while not await asyncio.to_thread(client.is_serving):
                container.reload()
                assert container.status != "exited", container.logs().decode()
                await asyncio.sleep(0.1)
        events = await asyncio.to_thread(lambda: list(client.stream_run(spec_request())))
        assert events[-1].name == "done", events[-1]
        view = events[-1].document
        assert view["engine_version"] == development_version(SOURCE_ROOT)
        assert view["metrics"]["watts_avg"] is not None, view["metrics"]["unmeasured"]
        assert view["metrics"]["watts_source"] == "rapl"
        record = client.get_bytes(view["record"])
        assert verify_record(record, Trust.parse(own_home.trust_file.read_bytes())).verdict == "VALID"
        await asyncio.to_thread(container.stop, timeout=WAIT_S)
        assert container.wait()["StatusCode"] == 0
    finally:
        container.remove(force=True)
