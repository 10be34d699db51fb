"""What is observed of a machine and of its container engine before anything is installed."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.domain.preflight import HOME_BYTES, REST_OF_HOME_BYTES, find_engine_obstacle, find_machine_obstacle
from supervisor.setup.host.container_engine_facts import read_container_engine_facts
from supervisor.setup.host.machine_facts import is_lxc, read_machine_facts

SUPPORTED = dict.fromkeys(("MemoryLimit", "SwapLimit", "PidsLimit", "CPUSet", "CpuCfsQuota"), True)


def test_a_home_that_does_not_exist_yet_is_observed_where_it_would_be(tmp_path: Path) -> None:
    facts = read_machine_facts(tmp_path / "not" / "there", tmp_path)
    assert (facts.system, facts.is_read_only, facts.is_writable, facts.runs_programs) == ("Linux", False, True, True)
    assert facts.free_bytes > 0


def test_what_is_there_already_needs_no_room(tmp_path: Path) -> None:
    assert read_machine_facts(tmp_path, tmp_path).needed_bytes == HOME_BYTES
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "weos-packages").touch()
    assert read_machine_facts(tmp_path, tmp_path).needed_bytes == REST_OF_HOME_BYTES
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cpu_avx2.json").touch()
    assert read_machine_facts(tmp_path, tmp_path).needed_bytes == 0


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small file system, mounted with options."""
    place = tmp_path / "mounted"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", request.param, "none", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting a file system needs root: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("mounted", "told"), [("ro", "read-only"), ("noexec", "noexec"), ("size=1m", "GB left")], indirect=["mounted"]
)
def test_a_file_system_on_which_nothing_can_be_installed_is_told(mounted: Path, told: str) -> None:
    obstacle = find_machine_obstacle(read_machine_facts(mounted / "home", mounted))
    assert obstacle is not None
    assert told in obstacle


def test_an_lxc_container_is_told_by_systemd_or_by_its_first_process(tmp_path: Path) -> None:
    kind, environment, nothing = tmp_path / "kind", tmp_path / "environ", tmp_path / "nothing"
    assert not is_lxc(nothing, nothing)
    kind.write_text("lxc\n")
    assert is_lxc(kind, nothing)
    kind.write_text("docker\n")
    environment.write_bytes(b"container=lxc\0TERM=linux\0")
    assert not is_lxc(kind, environment)
    assert is_lxc(nothing, environment)


def test_a_container_engine_is_described_by_its_own_answer(tmp_path: Path) -> None:
    info = {**SUPPORTED, "DockerRootDir": str(tmp_path), "CgroupVersion": "2", "SecurityOptions": ["name=rootless"]}
    facts = read_container_engine_facts(info, tmp_path, is_local=True)
    assert (facts.lacking_limits, facts.cgroup_version, facts.is_rootless) == ((), "2", True)
    assert (facts.free_bytes or 0) > 0
    assert read_container_engine_facts(info, tmp_path, is_local=False).free_bytes is None
    assert read_container_engine_facts(SUPPORTED, tmp_path, is_local=False).cgroup_version == "1"


def test_a_container_engine_that_says_nothing_limits_nothing(tmp_path: Path) -> None:
    obstacle = find_engine_obstacle(read_container_engine_facts({}, tmp_path, is_local=True))
    assert "cannot limit memory, swap, processes, CPU set, CPU time" in str(obstacle)
