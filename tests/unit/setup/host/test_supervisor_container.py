"""The container of a supervisor whose user is not root: what it may, what it sees, and whose its files are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.domain.errors import EngineError
from supervisor.setup.host.supervisor_container import Placing, User, build_supervisor_container

PLACING = Placing(
    home=Path("/home/ana/weos"),
    docker_host="unix:///var/run/docker.sock",
    user=User(1000, (1000, 105)),
    engine_options=frozenset({"name=seccomp,profile=default"}),
)


def built(placing: Placing = PLACING) -> dict[str, Any]:
    return build_supervisor_container("sha256:1", ["serve", "--port", "0"], placing)


def mounts(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["Target"]: mount for mount in config["HostConfig"]["Mounts"]}


def test_the_process_is_the_users_and_keeps_only_what_observing_takes() -> None:
    entry = built()["Entrypoint"]
    kept = "-all,+dac_override,+kill,+sys_admin,+sys_nice,+sys_ptrace"
    assert entry[: entry.index("python3")] == [
        *("setpriv", "--reuid=1000", "--regid=1000", "--groups=1000,105"),
        *(f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}", "--no-new-privs"),
    ]
    assert entry[entry.index("python3") :] == ["python3", "-m", "supervisor", "serve", "--port", "0"]
    host = built()["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert "SYS_MODULE" not in host["CapAdd"]
    assert "Privileged" not in host
    assert host["ReadonlyRootfs"]


def test_it_sees_the_hosts_processes_and_control_groups() -> None:
    host = built()["HostConfig"]
    assert (host["PidMode"], host["CgroupnsMode"], host["NetworkMode"]) == ("host", "host", "host")
    assert "UsernsMode" not in host
    remapped = replace(PLACING, engine_options=frozenset({"name=userns"}))
    assert built(remapped)["HostConfig"]["UsernsMode"] == "host"


def test_home_and_socket_lie_where_they_lie_on_the_host() -> None:
    config = built()
    for path in ("/home/ana/weos", "/var/run/docker.sock", "/sys/fs/cgroup"):
        assert mounts(config)[path] == {"Type": "bind", "Source": path, "Target": path}
    assert {"WEOS_HOME=/home/ana/weos", "DOCKER_HOST=unix:///var/run/docker.sock"} <= set(config["Env"])


def test_meters_read_the_hosts_files_and_change_none() -> None:
    config = built(replace(PLACING, host_files=()))
    assert {target for target in mounts(config) if target.startswith("/host")} == {"/host/sys", "/host/proc"}
    assert all(mount["ReadOnly"] for target, mount in mounts(config).items() if target.startswith("/host"))
    assert "WEOS_HOST_ROOT=/host" in config["Env"]
    assert mounts(built())["/host/etc/machine-id"]["Source"] == "/etc/machine-id"


def test_in_a_rootless_container_engine_root_is_the_user() -> None:
    config = built(replace(PLACING, engine_options=frozenset({"name=rootless"})))
    assert config["Entrypoint"][0] == "python3"


def test_a_container_engine_elsewhere_cannot_have_the_supervisor() -> None:
    with pytest.raises(EngineError, match="Unset DOCKER_HOST, or run as root") as caught:
        built(replace(PLACING, docker_host="tcp://elsewhere:2375"))
    assert caught.value.code == "supervisor_unplaceable"
