"""Which container engine answers, by answers that real ones gave."""

from typing import Any

from supervisor.domain.sandbox.container_engine import describe_container_engine

DOCKER: dict[str, Any] = {"Version": "20.10.24+dfsg1", "Components": [{"Name": "Engine"}, {"Name": "containerd"}]}
PODMAN: dict[str, Any] = {"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}]}


def test_docker_can_execute() -> None:
    engine = describe_container_engine(DOCKER, {"CgroupDriver": "cgroupfs"})
    assert (engine.name, engine.version, engine.cgroup_driver) == ("Docker", "20.10.24+dfsg1", "cgroupfs")
    assert engine.obstacle is None


def test_podman_is_known_by_its_component_and_refused_by_name() -> None:
    engine = describe_container_engine(PODMAN, {"CgroupDriver": "cgroupfs"})
    assert engine.name == "Podman"
    assert engine.obstacle is not None
    assert "Podman 4.3.1" in engine.obstacle
    assert "DOCKER_HOST" in engine.obstacle


def test_answers_without_details_are_dockers() -> None:
    engine = describe_container_engine({}, {})
    assert (engine.name, engine.version, engine.cgroup_driver) == ("Docker", "unknown", "")
