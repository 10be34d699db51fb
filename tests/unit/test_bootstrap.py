import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import bootstrap


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that would have been run; none is."""
    seen: list[list[str]] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        seen.append(command)
        if command[1:3] == ["-m", "venv"]:
            (Path(command[3]) / "bin").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("supervisor.bootstrap.subprocess.run", run)
    monkeypatch.setattr(bootstrap, "run_pip", lambda _, arguments, __: seen.append(["pip", *arguments]))
    return seen


def test_everything_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]) -> None:
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "home"))
    assert bootstrap.main() == 0
    assert [command[0] for command in commands].count("pip") == 2
    assert any("--require-hashes" in command for command in commands)
    made = len(commands)
    assert bootstrap.main() == 0
    assert len(commands) == made


def test_another_checkout_only_installs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]
) -> None:
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "home"))
    bootstrap.main()
    commands.clear()
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(bootstrap, "SOURCE_ROOT", tmp_path)
    assert bootstrap.main() == 0
    assert [command[-2:] for command in commands] == [["--editable", str(tmp_path)]]


def test_a_home_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "file" / "home"))
    assert bootstrap.main() == 1
    assert "Set-up stopped" in capsys.readouterr().out


def test_an_old_python_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bootstrap, "MINIMUM_PYTHON", (99, 0))
    assert bootstrap.main() == 1
    assert "make PYTHON=" in capsys.readouterr().out


def test_a_python_without_venv_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEOS_NO_INSTALL", "1")
    monkeypatch.setattr(
        "supervisor.bootstrap.subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 1)
    )
    with pytest.raises(bootstrap.BootstrapError, match=r"apt-get install python3\.\d+-venv"):
        bootstrap.require_venv_module()


def test_a_python_without_venv_gets_it_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        seen.append(command)
        return subprocess.CompletedProcess(command, 1 if "-c" in command else 0)

    monkeypatch.delenv("WEOS_NO_INSTALL", raising=False)
    monkeypatch.setattr("supervisor.bootstrap.subprocess.run", run)
    monkeypatch.setattr("supervisor.bootstrap.os.geteuid", lambda: 0)
    monkeypatch.setattr("supervisor.bootstrap.shutil.which", lambda _: "/usr/bin/apt-get")
    bootstrap.require_venv_module()
    assert [command[:2] for command in seen[1:]] == [["apt-get", "update"], ["apt-get", "install"]]


def test_what_pip_said_last_is_passed_on(tmp_path: Path) -> None:
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho Collecting one\necho no such package >&2\nexit 1\n")
    pip.chmod(0o755)
    with pytest.raises(bootstrap.BootstrapError, match="no such package"):
        bootstrap.run_pip(pip, [], 1)


def test_a_full_disk_is_told_with_its_name_and_what_is_needed(tmp_path: Path) -> None:
    pip = tmp_path / "venv" / "bin" / "python"
    pip.parent.mkdir(parents=True)
    pip.write_text("#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device'\nexit 1\n")
    pip.chmod(0o755)
    with pytest.raises(bootstrap.BootstrapError, match=r"the disk is full .*520 MB") as caught:
        bootstrap.run_pip(pip, [], 1)
    assert f"{tmp_path}: " in str(caught.value)
    assert "package index" not in str(caught.value)


def test_a_pip_that_takes_too_long_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "STEP_TIMEOUT_S", 0.1)
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\nexec sleep 600\n")
    pip.chmod(0o755)
    with pytest.raises(bootstrap.BootstrapError, match=r"ended, after 0\.1 s"):
        bootstrap.run_pip(pip, [], 1)


@pytest.mark.parametrize("name", ["we os", "w\u00e9os", "we:os"])
def test_a_path_that_cannot_work_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / name))
    assert bootstrap.main() == 1
    assert "Set-up stopped: the path of WEOS_HOME" in capsys.readouterr().out
    assert not (tmp_path / name).exists()


def test_it_refuses_by_its_path_too_with_nothing_installed(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-I", "-S", str(bootstrap.SOURCE_ROOT / "supervisor" / "bootstrap.py")],
        env={"WEOS_HOME": str(tmp_path / "we os"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout.startswith("Set-up stopped: the path of WEOS_HOME")


def test_a_good_pip_shows_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho Collecting one\nexit 0\n")
    pip.chmod(0o755)
    bootstrap.run_pip(pip, [], 1)
    assert "1/1 packages" in capsys.readouterr().out


def test_nothing_but_the_standard_library_is_imported() -> None:
    code = f"import sys; sys.path[:0] = [{str(bootstrap.SOURCE_ROOT)!r}]; import supervisor.bootstrap"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
