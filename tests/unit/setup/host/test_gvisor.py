import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from supervisor.commands.gvisor import try_gvisor
from supervisor.domain.errors import SetupError
from supervisor.domain.sandbox.isolation import RegisteredRuntime
from supervisor.setup.host import gvisor
from supervisor.setup.host.gvisor import ContainerEngine, ensure_gvisor
from supervisor.setup.host.machine import Host
from tests.silent_progress import SilentProgress

ARGUMENTS = ["--network=none", "--platform=ptrace", "--oci-seccomp=true"]
RUNSC = "/usr/bin/runsc"


@dataclass
class Machine:
    """A machine with an engine that reads its configuration when it is told to."""

    config: Path
    environment: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=lambda: {"runsc": RUNSC})
    user_id: int = 0
    process: int | None = 1
    help_lines: Sequence[str] = ("      --version",)
    is_valid: bool = True
    obeys: bool = True
    done: list[str] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)

    def run(self, command: Sequence[str], *, code: str, on_line: Callable[[str], None] = print, **_: Any) -> None:
        self.done.append(" ".join(command))
        if command[-1] == "runsc":
            self.programs["runsc"] = RUNSC
        if command[-1] == "--help":
            for line in self.help_lines:
                on_line(line)
        if "--validate" in command and not self.is_valid:
            raise SetupError(code, "not valid")

    def reload(self) -> None:
        self.done.append("reload")
        if self.obeys:
            self.known = json.loads(self.config.read_text())["runtimes"] if self.config.exists() else {}

    def runtimes(self) -> dict[str, RegisteredRuntime]:
        return {
            name: RegisteredRuntime(entry["path"], tuple(entry["runtimeArgs"]), entry["path"] == RUNSC)
            for name, entry in self.known.items()
        }

    def host(self) -> Host:
        return Host(
            environment=self.environment,
            user_id=self.user_id,
            is_debian_family=True,
            is_systemd_running=False,
            is_answering=lambda _address: True,
            describe_obstacle=lambda _address: None,
            find_program=self.programs.get,
            run=self.run,
            start_detached=lambda _command, _log: pytest.fail("nothing is started here"),
            container_engine_config=self.config,
        )

    def engine(self) -> ContainerEngine:
        return ContainerEngine("unix:///engine", self.process, self.config, self.runtimes, self.reload)

    def ensure(self, home: Path, *, consent: bool = False) -> None:
        ensure_gvisor(home, self.host(), self.engine(), SilentProgress(), consent=consent)

    def attempt(self, home: Path) -> str | None:
        return try_gvisor(home, self.host(), self.engine(), consent=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "etc" / "daemon.json")


def configured(machine: Machine, text: str) -> None:
    machine.config.parent.mkdir(exist_ok=True)
    machine.config.write_text(text)


def refusal(machine: Machine, home: Path, *, consent: bool = False) -> SetupError:
    with pytest.raises(SetupError) as caught:
        machine.ensure(home, consent=consent)
    return caught.value


def test_what_is_there_already_is_left_alone(machine: Machine, tmp_path: Path) -> None:
    machine.known = {"weos-gvisor": {"path": RUNSC, "runtimeArgs": ARGUMENTS}}
    machine.ensure(tmp_path / "home")
    assert machine.done == []


def test_runsc_is_installed_where_it_is_missing(machine: Machine, tmp_path: Path) -> None:
    machine.programs = {}
    machine.known = {"weos-gvisor": {"path": RUNSC, "runtimeArgs": ARGUMENTS}}
    machine.ensure(tmp_path / "home")
    assert machine.done == ["apt-get update -q", "apt-get install -qy --no-install-recommends runsc"]


@pytest.mark.parametrize(
    ("environment", "user_id", "reason"), [({"WEOS_NO_INSTALL": "1"}, 0, "WEOS_NO_INSTALL=1"), ({}, 1000, "needs root")]
)
def test_nothing_is_installed_where_that_is_forbidden(
    machine: Machine, tmp_path: Path, environment: dict[str, str], user_id: int, reason: str
) -> None:
    machine.programs, machine.environment, machine.user_id = {}, environment, user_id
    error = refusal(machine, tmp_path / "home")
    assert error.code == "gvisor_missing"
    assert reason in error.detail
    assert "apt-get install --no-install-recommends runsc" in error.detail
    assert machine.done == []


def test_an_engine_that_was_here_before_is_changed_only_when_told_to(machine: Machine, tmp_path: Path) -> None:
    configured(machine, '{"debug": true}')
    error = refusal(machine, tmp_path / "home")
    assert error.code == "consent_needed"
    assert '+            "path": "/usr/bin/runsc",' in error.detail
    assert "make gvisor YES=1" in error.detail
    assert machine.config.read_text() == '{"debug": true}'
    assert machine.done == []


def test_told_to_the_change_is_made_and_what_was_there_is_kept(machine: Machine, tmp_path: Path) -> None:
    configured(
        machine, '{"debug": true, "runtimes": {"weos-gvisor": {"path": "x", "runtimeArgs": ["--ignore-cgroups"]}}}'
    )
    machine.ensure(tmp_path / "home", consent=True)
    assert json.loads(machine.config.read_text()) == {
        "debug": True,
        "runtimes": {"weos-gvisor": {"path": RUNSC, "runtimeArgs": ARGUMENTS}},
    }
    (kept,) = machine.config.parent.glob("*.before-weos-*")
    assert "--ignore-cgroups" in kept.read_text()
    assert machine.done == ["dockerd --help", "reload"]


def test_an_engine_that_set_up_started_is_changed_without_asking(machine: Machine, tmp_path: Path) -> None:
    machine.config = tmp_path / "home" / "engine" / "daemon.json"
    machine.config.parent.mkdir(parents=True)
    machine.config.write_text("{}")
    machine.ensure(tmp_path / "home")
    assert machine.known["weos-gvisor"]["runtimeArgs"] == ARGUMENTS


@pytest.mark.parametrize("text", ['{"debug": true}', None])
def test_a_change_that_the_engine_does_not_take_is_taken_back(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.setattr(gvisor, "RELOAD_DEADLINE_S", 0.0)
    if text is not None:
        configured(machine, text)
    machine.obeys = False
    error = refusal(machine, tmp_path / "home", consent=True)
    assert "former configuration" in error.detail
    assert (machine.config.read_text() if machine.config.exists() else None) == text
    assert [step for step in machine.done if step == "reload"] == ["reload", "reload"]


def test_dockerd_validates_what_it_is_to_read_where_it_can(machine: Machine, tmp_path: Path) -> None:
    machine.help_lines = ("      --validate    Validate daemon configuration and exit",)
    machine.ensure(tmp_path / "home", consent=True)
    trial = tmp_path / "home" / "engine" / "trial.json"
    assert machine.done == ["dockerd --help", f"dockerd --validate --config-file {trial}", "reload"]
    assert not trial.exists()


def test_what_dockerd_finds_invalid_is_not_put_in_place(machine: Machine, tmp_path: Path) -> None:
    configured(machine, "{}")
    machine.help_lines, machine.is_valid = ("--validate",), False
    assert refusal(machine, tmp_path / "home", consent=True).code == "engine_config_unsound"
    assert machine.config.read_text() == "{}"
    assert "reload" not in machine.done


@pytest.mark.parametrize(("process", "user_id", "words"), [(None, 0, "not a dockerd"), (1, 1000, "needs root")])
def test_where_set_up_cannot_change_the_engine_it_says_what_to_write(
    machine: Machine, tmp_path: Path, process: int | None, user_id: int, words: str
) -> None:
    machine.process, machine.user_id = process, user_id
    error = refusal(machine, tmp_path / "home", consent=True)
    assert words in error.detail
    assert '"weos-gvisor"' in error.detail
    assert all(argument in error.detail for argument in ARGUMENTS)
    assert not machine.config.exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_tests_go_on_without_the_tier_where_nobody_can_be_asked(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(machine, "{}")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "make gvisor YES=1" in str(machine.attempt(tmp_path / "home"))
    assert machine.config.read_text() == "{}"


@pytest.mark.parametrize(("answer", "is_changed"), [("y\n", True), ("n\n", False)])
def test_at_a_terminal_a_person_is_asked(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, is_changed: bool
) -> None:
    configured(machine, "{}")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert (machine.attempt(tmp_path / "home") is None) == is_changed
    assert ("runtimes" in machine.config.read_text()) == is_changed


def test_tests_go_on_without_the_tier_where_it_may_not_be_installed(machine: Machine, tmp_path: Path) -> None:
    machine.programs, machine.user_id = {}, 1000
    assert "needs root" in str(machine.attempt(tmp_path / "home"))


def test_a_container_engine_that_fails_is_no_reason_to_go_on(machine: Machine, tmp_path: Path) -> None:
    def fail() -> NoReturn:
        raise SetupError("engine_unreachable", "gone")

    broken = replace(machine.engine(), runtimes=fail)
    with pytest.raises(SetupError, match="gone"):
        try_gvisor(tmp_path / "home", machine.host(), broken, consent=True)
