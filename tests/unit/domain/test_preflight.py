"""Machines that cannot work: each is told in one sentence, with what to do."""

from dataclasses import replace
from typing import Any

import pytest

from supervisor.domain.preflight import (
    GB,
    ContainerEngineFacts,
    MachineFacts,
    find_engine_obstacle,
    find_lacking_limits,
    find_machine_obstacle,
)

SOUND = MachineFacts(
    system="Linux",
    processor="x86_64",
    home="/home/me/.local/share/weos",
    checkout="/home/me/weos-engine_2+x@v1~=",
    is_read_only=False,
    is_writable=True,
    runs_programs=True,
    free_bytes=2 * GB,
    needed_bytes=2 * GB,
)
DOCKER = ContainerEngineFacts(
    home="/home/me/.local/share/weos",
    root_directory="/var/lib/docker",
    lacking_limits=(),
    cgroup_version="2",
    is_rootless=False,
    is_lxc=False,
    free_bytes=2 * GB,
)


def test_a_sound_machine_has_no_obstacle() -> None:
    assert find_machine_obstacle(SOUND) is None
    assert find_machine_obstacle(replace(SOUND, processor="amd64")) is None
    assert find_machine_obstacle(replace(SOUND, free_bytes=0, needed_bytes=0)) is None
    assert find_engine_obstacle(DOCKER) is None
    assert find_engine_obstacle(replace(DOCKER, free_bytes=None)) is None


@pytest.mark.parametrize(
    ("changes", "told", "how"),
    [
        ({"processor": "aarch64"}, "Linux on aarch64", "use a Linux machine"),
        ({"processor": ""}, "an unnamed processor", "use a Linux machine"),
        ({"system": "Darwin"}, "Darwin on x86_64", "use a Linux machine"),
        ({"home": "/home/me/we os"}, "WEOS_HOME, '/home/me/we os', contains a space", "export WEOS_HOME="),
        ({"home": "/home/jos\u00e9/weos"}, "contains '\u00e9'", "export WEOS_HOME="),
        ({"home": "/data:1/weos"}, "contains ':'", "export WEOS_HOME="),
        ({"checkout": "/home/me/my code"}, "the path of the checkout", "move it"),
        ({"is_read_only": True}, "is read-only", "export WEOS_HOME="),
        ({"is_writable": False}, "may not write", "export WEOS_HOME="),
        ({"runs_programs": False}, "noexec", "export WEOS_HOME="),
        ({"free_bytes": 3 * GB // 2}, "has 1.5 GB left, and set-up needs 2.0 GB there", "make room"),
    ],
)
def test_a_machine_that_cannot_work_is_told_with_what_to_do(changes: dict[str, Any], told: str, how: str) -> None:
    sentence = find_machine_obstacle(replace(SOUND, **changes))
    assert sentence is not None
    assert told in sentence
    assert how in sentence
    assert "\n" not in sentence


SNAP = "/var/snap/docker/common/var-lib-docker"


@pytest.mark.parametrize(
    ("changes", "told", "how"),
    [
        ({"root_directory": SNAP}, "this Docker is a snap", "export WEOS_HOME=/home/$USER/weos"),
        ({"root_directory": SNAP, "home": "/srv/weos"}, "this Docker is a snap", "docker.io"),
        ({"lacking_limits": ("memory", "swap"), "is_lxc": True}, "cannot limit memory, swap", "security.nesting=true"),
        ({"lacking_limits": ("CPU set",), "is_rootless": True}, "cannot limit CPU set", "Delegate=cpu cpuset"),
        ({"lacking_limits": ("swap",), "cgroup_version": "1"}, "cannot limit swap", "swapaccount=1"),
        ({"lacking_limits": ("processes",), "cgroup_version": "1"}, "cannot limit processes", "use a kernel with"),
        ({"lacking_limits": ("swap",)}, "cannot limit swap", "use a kernel with"),
        ({"free_bytes": GB}, "the disk of /var/lib/docker has 1.0 GB left", "docker system prune"),
    ],
)
def test_a_container_engine_that_cannot_work_is_told_with_what_to_do(
    changes: dict[str, Any], told: str, how: str
) -> None:
    sentence = find_engine_obstacle(replace(DOCKER, **changes))
    assert sentence is not None
    assert told in sentence
    assert how in sentence
    assert "\n" not in sentence


def test_a_snap_works_in_a_folder_that_it_sees() -> None:
    assert find_engine_obstacle(replace(DOCKER, root_directory=SNAP, home="/home/me/weos")) is None


def test_limits_that_the_container_engine_does_not_name_are_lacking() -> None:
    info = {"MemoryLimit": True, "SwapLimit": False, "PidsLimit": True, "CPUSet": True}
    assert find_lacking_limits(info) == ("swap", "CPU time")
