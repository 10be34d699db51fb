"""The command line before any command: the environment that it runs in."""

import pytest

from supervisor import cli


def test_an_environment_shared_with_the_other_supervisor_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["weos-engine", "--version"])
    monkeypatch.setattr(cli, "version", lambda name: {"supervisor": "4.2.5"}[name])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("environment_mixed: the distribution supervisor 4.2.5")
    assert "pipx install ." in said


def test_an_environment_of_its_own_is_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["weos-engine", "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "audit" in capsys.readouterr().out
