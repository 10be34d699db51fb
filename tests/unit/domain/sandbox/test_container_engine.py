"""Which container engine answers, by answers that real ones gave."""

from typing import Any

import pytest

from supervisor.domain.sandbox.container_engine import describe_container_engine, select_limit_warnings

DOCKER: dict[str, Any] = {"Version": "20.10.24+dfsg1", "Components": [{"Name": "Engine"}, {"Name": "containerd"}]}
PODMAN: dict[str, Any] = {"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}]}
INFO = {"CgroupDriver": "cgroupfs", "CgroupVersion": "1", "DefaultRuntime": "runc", "SecurityOptions": ["name=seccomp"]}


@pytest.mark.parametrize(("version", "name"), [(DOCKER, "Docker"), (PODMAN, "Podman")])
def test_an_engine_of_root_with_the_tested_runtime_can_execute(version: dict[str, Any], name: str) -> None:
    engine = describe_container_engine(version, INFO)
    assert (engine.name, engine.version, engine.cgroup_driver) == (name, version["Version"], "cgroupfs")
    assert engine.is_podman == (name == "Podman")
    assert engine.obstacle is None


@pytest.mark.parametrize(
    ("version", "info", "words"),
    [
        (PODMAN, {"DefaultRuntime": "crun"}, ["which is crun here", "runtime = "]),
        (PODMAN | {"Version": "3.0.1"}, {}, ["Podman 3.0.1 is older"]),
        (PODMAN | {"Version": "odd"}, {}, ["Podman odd is older"]),
        (PODMAN, {"Rootless": True}, ["Podman 4.3.1 runs without root", "no limit"]),
        (PODMAN, {"Rootless": True, "CgroupVersion": "2"}, ["without root", "user"]),
        (DOCKER, {"SecurityOptions": ["name=seccomp", "name=rootless"]}, ["Docker 20.10.24+dfsg1 runs without root"]),
    ],
)
def test_an_engine_that_cannot_execute_is_refused_with_its_reason(
    version: dict[str, Any], info: dict[str, Any], words: list[str]
) -> None:
    obstacle = describe_container_engine(version, INFO | info).obstacle
    assert obstacle is not None
    assert [word for word in words if word not in obstacle] == []


def test_docker_may_have_another_default_runtime_because_each_container_names_its_own() -> None:
    assert describe_container_engine(DOCKER, INFO | {"DefaultRuntime": "crun"}).obstacle is None


def test_answers_without_details_are_dockers() -> None:
    engine = describe_container_engine({}, {"SecurityOptions": None})
    assert (engine.name, engine.version, engine.cgroup_driver) == ("Docker", "unknown", "")


@pytest.mark.parametrize(
    "warning",
    [
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted.",
        "Your kernel does not support pids limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
        "Your kernel does not support CPU cfs quota. Quota discarded.",
    ],
)
def test_a_warning_about_a_limit_counts(warning: str) -> None:
    assert select_limit_warnings([warning]) == (warning,)


@pytest.mark.parametrize(
    "warnings",
    [
        None,
        [],
        ["The requested image's platform (linux/amd64/v3) does not match the detected host platform (linux/amd64/v4)"],
        ["IPv4 forwarding is disabled. Networking will not work."],
    ],
)
def test_a_harmless_warning_does_not(warnings: list[str] | None) -> None:
    assert select_limit_warnings(warnings) == ()
