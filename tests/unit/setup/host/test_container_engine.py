import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.host import container_engine
from supervisor.setup.host.container_engine import ensure_container_engine, is_answering, this_host
from supervisor.setup.host.container_engine_address import Reach
from supervisor.setup.host.machine import Host
from tests.silent_progress import SilentProgress

DOCKER = "unix:///var/run/docker.sock"


@dataclass
class Machine:
    """A machine that notes what is done to it; an engine answers where `answering` says."""

    environment: dict[str, str] = field(default_factory=dict)
    answering: set[str] = field(default_factory=set)
    programs: set[str] = field(default_factory=set)
    user_id: int = 0
    is_debian: bool = True
    has_systemd: bool = False
    answers_once_started: bool = True
    obstacle: str | None = None
    daemon: Sequence[str] = (sys.executable, "-c", "import time; time.sleep(600)")
    done: list[str] = field(default_factory=list)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    container_engine_config: Path = Path("/nonexistent/daemon.json")
    denied: set[str] = field(default_factory=set)

    def run(self, command: Sequence[str], **options: Any) -> None:
        self.done.append(" ".join(command))
        options.get("on_line", lambda _line: None)("0 upgraded, 3 newly installed, 0 to remove")
        options.get("on_line", lambda _line: None)("Get:1 package")
        if "docker.io" in command:
            self.programs.add("dockerd")
        if command[0] == "systemctl":
            self._started()

    def start_detached(self, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
        self.done.append(" ".join(command))
        log.parent.mkdir(parents=True)
        with log.open("wb") as output:
            process = subprocess.Popen(self.daemon, stdout=output, stderr=output)
        self.processes.append(process)
        self._started()
        return process

    def _started(self) -> None:
        if self.answers_once_started:
            self.answering.add(DOCKER)

    def host(self) -> Host:
        return Host(
            environment=self.environment,
            user_id=self.user_id,
            is_debian_family=self.is_debian,
            is_systemd_running=self.has_systemd,
            is_answering=lambda address: address in self.answering,
            describe_obstacle=lambda _address: self.obstacle,
            find_program=lambda name: name if name in self.programs else None,
            run=self.run,
            start_detached=self.start_detached,
            container_engine_config=self.container_engine_config,
            reach=lambda address: Reach.DENIED if address in self.denied else Reach.SILENT,
        )

    def ensure(self, home: Path) -> str:
        try:
            return ensure_container_engine(home, SilentProgress(), self.host())
        finally:
            for process in self.processes:
                process.kill()
                process.wait()


def refusal(machine: Machine, home: Path) -> SetupError:
    with pytest.raises(SetupError) as caught:
        machine.ensure(home)
    return caught.value


def test_the_engine_named_by_the_environment_is_used(tmp_path: Path) -> None:
    machine = Machine({"DOCKER_HOST": "tcp://a"}, answering={"tcp://a", DOCKER})
    assert machine.ensure(tmp_path) == "tcp://a"
    assert machine.done == []


def test_no_other_engine_replaces_one_named_that_is_silent(tmp_path: Path) -> None:
    error = refusal(Machine({"DOCKER_HOST": "tcp://a"}, answering={DOCKER}), tmp_path)
    assert error.code == "engine_unreachable"
    assert "unset DOCKER_HOST" in error.detail


def test_an_engine_that_cannot_execute_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    error = refusal(Machine(answering={DOCKER}, obstacle="it cannot"), tmp_path)
    assert error.code == "engine_unsupported"
    assert error.detail == f"the container engine at {DOCKER}: it cannot"


@pytest.mark.parametrize(
    "address",
    [
        DOCKER,
        "unix:///run/user/7/docker.sock",
        "unix:///run/user/7/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ],
)
def test_an_engine_at_a_usual_socket_is_found(tmp_path: Path, address: str) -> None:
    machine = Machine({"XDG_RUNTIME_DIR": "/run/user/7"}, answering={address}, user_id=7)
    assert machine.ensure(tmp_path) == address
    assert machine.done == []


@pytest.mark.parametrize("environment", [{}, {"DOCKER_HOST": DOCKER}], ids=["usual socket", "named"])
def test_a_missing_permission_is_not_taken_for_an_engine_that_does_not_run(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    error = refusal(Machine(environment, denied={DOCKER}, user_id=7, programs={"dockerd"}), tmp_path)
    assert error.code == "engine_forbidden"
    assert "this user may not use it" in error.detail


def test_an_engine_of_the_users_own_is_used_where_the_machines_is_forbidden(tmp_path: Path) -> None:
    own = "unix:///run/user/7/docker.sock"
    machine = Machine({"XDG_RUNTIME_DIR": "/run/user/7"}, answering={own}, denied={DOCKER}, user_id=7)
    assert machine.ensure(tmp_path) == own


def test_a_bare_debian_gets_the_engine_installed_and_started(tmp_path: Path) -> None:
    machine = Machine()
    assert machine.ensure(tmp_path) == DOCKER
    assert [step.split()[0] for step in machine.done] == ["apt-get", "apt-get", "dockerd"]
    assert "--no-install-recommends docker.io containerd iptables" in machine.done[1]


def test_an_installed_engine_is_only_started(tmp_path: Path) -> None:
    machine = Machine(programs={"dockerd"})
    assert machine.ensure(tmp_path) == DOCKER
    assert machine.done == [f"dockerd --config-file {tmp_path}/engine/daemon.json"]


def test_an_engine_that_set_up_starts_knows_gvisor_and_what_the_machine_configures(tmp_path: Path) -> None:
    theirs = tmp_path / "daemon.json"
    theirs.write_text('{"data-root": "/elsewhere", "runtimes": {"kata": {"path": "kata"}}}')
    Machine(programs={"dockerd"}, container_engine_config=theirs).ensure(tmp_path / "home")
    config = json.loads((tmp_path / "home" / "engine" / "daemon.json").read_text())
    assert config["data-root"] == "/elsewhere"
    assert config["runtimes"]["kata"] == {"path": "kata"}
    assert config["runtimes"]["weos-gvisor"] == {
        "path": "/usr/bin/runsc",
        "runtimeArgs": ["--network=none", "--platform=ptrace", "--oci-seccomp=true"],
    }
    assert json.loads(theirs.read_text())["runtimes"] == {"kata": {"path": "kata"}}


def test_a_service_that_set_up_installs_knows_gvisor_from_its_first_start(tmp_path: Path) -> None:
    config = tmp_path / "docker" / "daemon.json"
    Machine(has_systemd=True, container_engine_config=config).ensure(tmp_path)
    assert set(json.loads(config.read_text())["runtimes"]) == {"weos-gvisor"}


@pytest.mark.parametrize(
    "machine",
    [
        Machine(has_systemd=True, programs={"dockerd"}),
        Machine({"WEOS_NO_INSTALL": "1"}, has_systemd=True),
        Machine(is_debian=False, has_systemd=True),
    ],
    ids=["installed before", "nothing may be installed", "not Debian"],
)
def test_a_machines_own_configuration_is_left_alone_otherwise(machine: Machine, tmp_path: Path) -> None:
    machine.container_engine_config = tmp_path / "docker" / "daemon.json"
    with contextlib.suppress(SetupError):
        machine.ensure(tmp_path)
    assert not machine.container_engine_config.exists()


def test_a_configuration_that_cannot_be_read_stops_set_up(tmp_path: Path) -> None:
    broken = tmp_path / "daemon.json"
    broken.write_text("{")
    error = refusal(Machine(programs={"dockerd"}, container_engine_config=broken), tmp_path)
    assert error.code == "engine_config_unsound"
    assert str(broken) in error.detail


def test_systemd_starts_the_engine_where_it_runs(tmp_path: Path) -> None:
    machine = Machine(programs={"dockerd"}, has_systemd=True)
    assert machine.ensure(tmp_path) == DOCKER
    assert machine.done == ["systemctl start docker"]


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (Machine({"WEOS_NO_INSTALL": "1"}), "WEOS_NO_INSTALL=1"),
        (Machine(is_debian=False), "neither Debian nor Ubuntu"),
        (Machine(user_id=1000), "root"),
    ],
)
def test_nothing_is_installed_where_that_is_forbidden_and_the_command_is_named(
    machine: Machine, reason: str, tmp_path: Path
) -> None:
    error = refusal(machine, tmp_path)
    assert error.code == "engine_missing"
    assert reason in error.detail
    assert "apt-get install" in error.detail
    assert machine.done == []


def test_a_user_who_cannot_start_the_engine_is_told_how(tmp_path: Path) -> None:
    error = refusal(Machine(programs={"dockerd"}, user_id=1000), tmp_path)
    assert error.code == "engine_unreachable"
    assert "sudo systemctl start docker" in error.detail


def test_a_daemon_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    daemon = (sys.executable, "-c", "print('no cgroups here'); raise SystemExit(1)")
    error = refusal(Machine(programs={"dockerd"}, answers_once_started=False, daemon=daemon), tmp_path)
    assert error.code == "engine_start_failed"
    assert "status 1" in error.detail
    assert "no cgroups here" in error.detail


@pytest.mark.parametrize("has_systemd", [True, False])
def test_an_engine_that_stays_silent_is_given_up_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_systemd: bool
) -> None:
    monkeypatch.setattr(container_engine, "START_DEADLINE_S", 0.3)
    machine = Machine(programs={"dockerd"}, answers_once_started=False, has_systemd=has_systemd)
    error = refusal(machine, tmp_path)
    assert error.code == "engine_start_failed"
    assert "did not answer" in error.detail


def test_no_engine_answers_at_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert not is_answering(f"unix://{tmp_path}/no.sock")
    assert not is_answering("nonsense")


def test_this_machine_can_be_described() -> None:
    host = this_host()
    assert host.find_program("sh")
    assert isinstance(host.is_debian_family, bool)
