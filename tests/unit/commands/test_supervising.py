"""Which way the supervisor runs, as a process or in a container, by what the kernel shows this user."""

from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.client.contained_supervisor import ContainedSupervisor, this_user
from supervisor.commands import supervising
from supervisor.commands.supervising import contain, require_process, run_contained
from supervisor.domain.errors import EngineError
from tests.silent_progress import SilentProgress

SOCKET = "unix:///var/run/docker.sock"


def as_user(monkeypatch: pytest.MonkeyPatch, *, may_observe: bool) -> None:
    monkeypatch.setattr(supervising, "may_observe", lambda: may_observe)
    monkeypatch.setattr(supervising, "build_supervisor_image", lambda *_: "sha256:1")
    monkeypatch.setattr(supervising, "ensure_container_engine", lambda *_: SOCKET)


def test_who_may_observe_needs_no_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, may_observe=True)
    assert contain(Home(tmp_path), "tcp://elsewhere:2375", SilentProgress()) is None
    run_contained(Home(tmp_path), ["doctor", "--escape"])


def test_every_other_user_gets_a_container_of_its_own_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, may_observe=False)
    home = Home(tmp_path)
    assert contain(home, SOCKET, SilentProgress()) == ContainedSupervisor(home, SOCKET, "sha256:1", this_user())


def test_a_container_engine_elsewhere_is_refused_before_an_image_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, may_observe=False)
    monkeypatch.setattr(supervising, "build_supervisor_image", lambda *_: pytest.fail("it was built"))
    with pytest.raises(EngineError, match="Unset DOCKER_HOST") as caught:
        contain(Home(tmp_path), "tcp://elsewhere:2375", SilentProgress())
    assert caught.value.code == "supervisor_unplaceable"


def test_what_starts_processes_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, may_observe=True)
    require_process("make bench")
    as_user(monkeypatch, may_observe=False)
    with pytest.raises(EngineError, match="make bench needs root"):
        require_process("make bench")


def test_a_command_that_observes_runs_there_and_gives_its_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, may_observe=False)
    asked: list[list[str]] = []

    def run(_: ContainedSupervisor, arguments: list[str]) -> int:
        asked.append(arguments)
        return 7

    monkeypatch.setattr(ContainedSupervisor, "run", run)
    with pytest.raises(SystemExit) as caught:
        run_contained(Home(tmp_path), ["doctor", "--escape"])
    assert (caught.value.code, asked) == (7, [["doctor", "--escape"]])
