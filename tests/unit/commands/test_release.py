"""`weos-engine release` without a container engine: roots, lists, what is shown, selected and revoked."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contracts.verify.trust import Trust
from supervisor.adapters.identity.engine_version import release_version
from supervisor.commands.release import ROOT_DIRECTORY, ROOT_PASSPHRASE, command
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.errors import EngineError
from tests.release_home import PASSPHRASE, ReleaseHome

VERSION = release_version(SOURCE_ROOT)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseHome:
    """A home with a root and a release of the very source under test."""
    made = ReleaseHome.make(tmp_path, SOURCE_ROOT)
    made.publish()
    monkeypatch.setenv("WEOS_HOME", str(made.home.root))
    monkeypatch.setenv(ROOT_DIRECTORY, str(tmp_path / "root"))
    monkeypatch.setenv(ROOT_PASSPHRASE, PASSPHRASE.decode())
    monkeypatch.setenv("COLUMNS", "200")
    return made


def run(*arguments: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), input=answers)


def told(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.exception
    return result.output


def refused(*arguments: str) -> EngineError:
    result = run(*arguments)
    assert isinstance(result.exception, EngineError), result.output
    return result.exception


class TestRoot:
    def test_a_root_is_made_and_known_to_the_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WEOS_HOME", str(tmp_path / "home"))
        monkeypatch.setenv(ROOT_PASSPHRASE, PASSPHRASE.decode())
        place = tmp_path / "medium"
        output = told("init-root", "--root-dir", str(place))
        assert "root keyring 1, key " in output
        assert (tmp_path / "home" / "root" / "1.json").is_file()
        root = Trust.parse((place / "trust.json").read_bytes()).root
        assert root is not None
        (key,) = (place / "keys").iterdir()
        assert key.stem in output
        assert refused("init-root", "--root-dir", str(tmp_path / "other")).code == "root_exists"

    def test_a_root_inside_the_home_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WEOS_HOME", str(tmp_path))
        assert refused("init-root", "--root-dir", str(tmp_path / "root")).code == "root_inside_home"
        assert not (tmp_path / "root").exists()

    def test_a_short_passphrase_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WEOS_HOME", str(tmp_path / "home"))
        monkeypatch.setenv(ROOT_PASSPHRASE, "short")
        assert refused("init-root", "--root-dir", str(tmp_path / "root")).code == "passphrase_weak"
        assert not (tmp_path / "root").exists()

    def test_a_passphrase_is_read_from_a_private_file(self, made: ReleaseHome, tmp_path: Path) -> None:
        file = tmp_path / "passphrase"
        file.write_bytes(PASSPHRASE + b"\n")
        assert refused("rotate-root", "--passphrase-file", str(file)).code == "key_unsafe"
        file.chmod(0o600)
        assert "root keyring 2" in told("rotate-root", "--passphrase-file", str(file))
        assert len(made.store.keyrings()) == 2

    def test_a_passphrase_is_asked_for_on_a_terminal_only(
        self, made: ReleaseHome, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(ROOT_PASSPHRASE)
        assert refused("rotate-root").code == "passphrase_missing"
        assert made.root.keyring().version == 1

        monkeypatch.setattr("supervisor.commands.release.is_terminal", lambda: True)
        result = run("rotate-root", answers=PASSPHRASE.decode() + "\n")
        assert result.exit_code == 0, result.exception
        assert PASSPHRASE.decode() not in result.output
        assert made.root.keyring().version == 2

    def test_a_stolen_key_is_left_out(self, made: ReleaseHome) -> None:
        told("rotate-root", "--drop-old")
        assert len(made.root.keyring().keys) == 1
        assert "UNTRUSTED_MANIFEST" in refused("show", VERSION).detail


def test_releases_are_listed(made: ReleaseHome) -> None:
    digest = made.store.manifest(VERSION).digest
    output = told("list")
    assert VERSION in output
    assert digest in output
    assert "selected: automatic" in output
    document = json.loads(told("list", "--json"))
    (row,) = document["releases"]
    assert (row["engine_version"], row["manifest"], row["backends"]) == (VERSION, digest, ["cpu_avx2"])
    assert (row["predecessor"], row["revoked_from"], document["selected"]) == (None, None, "automatic")


def test_a_release_is_shown_with_its_reports(made: ReleaseHome) -> None:
    output = told("show", VERSION)
    for words in (
        made.store.manifest(VERSION).digest,
        "is this version",
        "greedy_repeats",
        "200 of 200 attacks",
        "short_answer",
        "this is the first version",
        "modelled",
    ):
        assert words in output
    document = json.loads(told("show", VERSION, "--json"))
    assert (document["validation"]["verdict"], document["comparison"]["verdict"]) == ("VALID", "VALID")
    assert (document["drift"], document["revocation"]) == ([], None)
    assert document["manifest"]["engine_version"] == VERSION


def test_what_differs_and_what_is_forged_is_shown(made: ReleaseHome) -> None:
    made.record_image(image_id="sha256:" + "b" * 64)
    release = made.home.root / "releases" / VERSION
    (release / "validation.json").write_bytes((release / "comparison.json").read_bytes())
    (release / "comparison.json").unlink()
    output = told("show", VERSION)
    assert "runtime image cpu_avx2: expected" in output
    assert "SCHEMA_VIOLATION" in output
    assert "MALFORMED" in output
    document = json.loads(told("show", VERSION, "--json"))
    assert document["validation"]["report"] is None
    assert [drift["subject"] for drift in document["drift"]] == ["runtime image cpu_avx2"]


def test_a_version_is_three_numbers(made: ReleaseHome) -> None:
    del made
    for name in ("0.1", "v0.1.0", "0.1.0+dev.0123456789ab", "../0.1.0", "00.1.0"):
        result = run("show", name)
        assert result.exit_code == 2
        assert "is not a version" in result.output
    assert refused("show", "9.9.9").code == "release_unknown"


def test_a_version_is_selected_and_left(made: ReleaseHome) -> None:
    told("select", VERSION)
    assert made.store.selected() == VERSION
    assert f"selected: {VERSION}" in told("list")
    told("select", "development")
    assert made.store.selected() == "development"
    told("select", "automatic")
    assert made.store.selected() is None
    assert refused("select", "9.9.9").code == "release_unknown"
    assert made.store.selected() is None


def test_a_version_is_revoked_and_that_can_only_be_put_earlier(made: ReleaseHome) -> None:
    assert "from ledger index 9" in told("revoke", VERSION, "--reason", "its key was seen", "--from-index", "9")
    revocation = made.store.revocation(VERSION)
    assert revocation is not None
    assert (revocation.from_index, revocation.reason) == (9, "its key was seen")
    assert revocation.manifest == made.store.manifest(VERSION).digest
    for index in ("9", "10"):
        error = refused("revoke", VERSION, "--reason", "again", "--from-index", index)
        assert error.code == "version_revoked"
    told("revoke", VERSION, "--reason", "seen earlier than thought")
    assert "from index 0" in told("list")
    assert "seen earlier than thought" in told("show", VERSION)


def test_a_foreign_root_cannot_revoke(made: ReleaseHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    other = ReleaseHome.make(tmp_path / "other", SOURCE_ROOT)
    monkeypatch.setenv(ROOT_DIRECTORY, str(tmp_path / "other" / "root"))
    assert refused("revoke", VERSION, "--reason", "malice").code == "root_unsound"
    assert made.store.revocation(VERSION) is None
    assert other.store.versions() == ()
