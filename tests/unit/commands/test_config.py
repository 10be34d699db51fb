"""`weos-engine config show` and `completion`."""

import json
import re
from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.adapters.policies import load_policies
from supervisor.commands.operations import config
from supervisor.commands.operations.settings import read_settings
from tests.places import REPOSITORY
from tests.supervisor_stand_in import StandIn
from tests.unit.commands.conftest import Call

NAME = re.compile(r"\"(WEOS_[A-Z_]+)\"")
# Attacks carry a program of their own, and the bootstrap runs before the command line.
OWN = ("supervisor/escape/", "supervisor/bootstrap.py", "supervisor/commands/operations/")


@pytest.fixture(autouse=True)
def no_container_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "find_container_engine", lambda: None)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "home"))


def settings(**environment: str) -> dict[str, tuple[str | None, str]]:
    read = read_settings(environment, home=Path("/h"), data_home=Path("/d"), container_engine="unix:///run/e.sock")
    return {setting.name: (setting.value, setting.origin) for setting in read}


def test_every_setting_that_the_code_reads_is_shown() -> None:
    sources = (path for path in (REPOSITORY / "supervisor").rglob("*.py"))
    read = {
        name
        for path in sources
        if not str(path.relative_to(REPOSITORY)).startswith(OWN)
        for name in NAME.findall(path.read_text(encoding="utf-8"))
    }
    assert read
    assert read - set(settings()) == set()


def test_each_value_says_where_it_comes_from() -> None:
    shown = settings(WEOS_HOST_ROOT="/host", WEOS_NO_INSTALL="")
    assert shown["WEOS_HOST_ROOT"] == ("/host", "environment")
    assert shown["WEOS_NO_INSTALL"] == ("0", "default")
    assert shown["WEOS_TOKEN_FILE"] == (None, "not set")
    assert shown["DOCKER_HOST"] == ("unix:///run/e.sock", "found")
    assert settings(DOCKER_HOST="unix:///run/o.sock")["DOCKER_HOST"] == ("unix:///run/o.sock", "environment")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEOS_ROOT_PASSPHRASE", "hunter22"),
        ("HF_ENDPOINT", "https://user:hunter22@example.org/hub"),
        ("DOCKER_HOST", "tcp://hunter22@192.0.2.1:2376"),
        ("HF_ENDPOINT", "https://user:hunter22@[example.org"),
    ],
)
def test_a_secret_is_never_shown(weos: Call, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    for arguments in (("config", "show"), ("config", "show", "--json")):
        called = weos(*arguments)
        assert called.code == 0, called.err
        assert name in called.out
        assert "hunter22" not in called.out
    assert settings(**{name: value})[name][1] == "environment"


def test_no_token_is_shown(weos: Call, tmp_path: Path) -> None:
    token = Home(tmp_path / "home").token()
    assert token not in weos("config", "show", "--json").out


def test_policies_are_shown_with_their_digests(weos: Call, tmp_path: Path) -> None:
    shown = json.loads(weos("config", "show", "--json").out)
    assert shown["home"] == str(tmp_path / "home")
    assert shown["running_version"] is None
    assert {policy["name"] for policy in shown["policies"]} >= {"admission.toml", "seccomp.json"}
    for policy in shown["policies"]:
        assert Path(policy["path"]).is_file()
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", policy["digest"])
        assert policy["running_digest"] is None
    assert "no supervisor runs" in weos("config", "show").out


def test_a_policy_that_changed_since_the_supervisor_started_is_told(stand_in: StandIn, weos: Call) -> None:
    digests = dict(load_policies(REPOSITORY / "policies").digests) | {"pool.toml": "sha256:" + "0" * 64}
    stand_in.version = {"engine_version": "0.1.0", "manifest": None, "public_key": "AAAA", "policies": digests}
    lines = weos("config", "show").out.splitlines()
    assert any("0.1.0" in line for line in lines if line.startswith("running"))
    standing = {line.split("│")[1].strip(): line.split("│")[3].strip() for line in lines if ".toml" in line}
    assert standing.pop("pool.toml") == "changed; in force from the next start"
    assert set(standing.values()) == {"in force"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(weos: Call, shell: str) -> None:
    called = weos("completion", shell)
    assert called.code == 0
    assert f"_WEOS_ENGINE_COMPLETE={shell}_complete" in called.out


def test_the_words_of_the_command_line_are_completed(weos: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_WEOS_ENGINE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "weos-engine config s")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert weos().out == "plain,show\n"
