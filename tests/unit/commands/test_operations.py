"""`weos-engine health` and `install-service`."""

import os
from pathlib import Path

import pytest

from supervisor.commands.operations import install_service
from tests.supervisor_stand_in import StandIn
from tests.unit.commands.conftest import Call


def install_into(directory: Path, monkeypatch: pytest.MonkeyPatch, *, is_root: bool = True) -> list[tuple[str, ...]]:
    commands: list[tuple[str, ...]] = []
    (directory / "home").mkdir(exist_ok=True)
    monkeypatch.setenv("WEOS_HOME", str(directory / "home"))
    monkeypatch.setattr(install_service, "UNIT_DIRECTORY", directory / "units")
    monkeypatch.setattr(install_service, "is_systemd_running", lambda: True)
    monkeypatch.setattr(install_service, "find_container_engine", lambda: None)
    monkeypatch.setattr(install_service, "run_command", lambda command, **_: commands.append(command))
    monkeypatch.setattr(os, "geteuid", lambda: 0 if is_root else 1000)
    return commands


def test_the_unit_is_installed_and_systemd_is_told(weos: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = install_into(tmp_path, monkeypatch)
    called = weos("install-service")
    assert called.code == 0, called.err
    unit = (tmp_path / "units" / "weos-engine.service").read_text()
    assert f"WEOS_HOME={tmp_path / 'home'} " in unit
    assert commands == [("systemctl", "daemon-reload")]
    assert "systemctl enable --now weos-engine.service" in called.out


def test_a_printed_unit_changes_nothing(weos: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = install_into(tmp_path, monkeypatch)
    called = weos("install-service", "--print", "--port", "8642")
    assert "--port 8642" in called.out
    assert not (tmp_path / "units").exists()
    assert commands == []


def test_who_may_not_install_is_told_how(weos: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_into(tmp_path, monkeypatch, is_root=False)
    called = weos("install-service")
    assert called.code == 1
    assert called.err.startswith("root_needed: ")


def test_a_home_that_is_not_prepared_is_refused(weos: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_into(tmp_path, monkeypatch)
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "none"))
    called = weos("install-service")
    assert called.code == 1
    assert called.err.startswith("home_missing: ")


def test_without_systemd_the_command_says_so(weos: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_into(tmp_path, monkeypatch)
    monkeypatch.setattr(install_service, "is_systemd_running", lambda: False)
    called = weos("install-service")
    assert called.code == 1
    assert called.err.startswith("service_manager_missing: ")


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_is_an_exit_status(stand_in: StandIn, weos: Call, status: int, code: int) -> None:
    stand_in.health_status = status
    assert weos("health").code == code


def test_a_supervisor_that_does_not_answer_is_not_healthy(
    weos: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEOS_HOME", str(tmp_path))
    called = weos("health")
    assert called.code == 1
    assert called.err.startswith("engine_unavailable: ")
