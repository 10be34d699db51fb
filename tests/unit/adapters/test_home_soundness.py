"""A home in which others have a hand is refused before anything in it is used."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.domain.errors import EngineError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "place" / "home")
    with home.take():
        home.token()
    (home.root / "keys").mkdir(mode=0o700)
    (home.root / "keys" / "log.pem").touch(mode=0o600)
    (home.root / "models").mkdir()
    return home


def refusal(home: Home) -> str:
    with pytest.raises(EngineError) as refused, home.take():
        pass
    assert refused.value.code == "home_unsafe"
    return refused.value.detail


def test_a_new_home_is_private_and_taken_again(home: Home) -> None:
    assert home.root.stat().st_mode & 0o777 == 0o700
    with home.take():
        pass


@pytest.mark.parametrize("place", ["", "token", "keys", "keys/log.pem", "run", "models", "run/supervisor.lock"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_may_write_to_is_refused(home: Home, place: str, mode: int) -> None:
    home.root.chmod(0o755)
    path = home.root / place
    path.chmod(path.stat().st_mode | mode)
    assert f"{path} is not safe" in refusal(home)
    assert f"chmod go-w {path}" in refusal(home)
    path.chmod(path.stat().st_mode & ~0o022)
    with home.take():
        pass


def test_modes_inside_a_home_that_nobody_else_gets_into_mean_nothing(home: Home) -> None:
    (home.root / "models").chmod(0o775)
    with home.take():
        pass


@pytest.mark.parametrize("name", ["run", "keys", "tokens", "ledger"])
def test_a_link_in_the_place_of_a_private_directory_is_refused_and_not_followed(
    home: Home, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    path = home.root / name
    if path.exists():
        path.rename(home.root / "away")
    path.symlink_to(elsewhere)
    assert "not a directory" in refusal(home)
    assert list(elsewhere.iterdir()) == []
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_models_may_be_a_link_to_a_place_of_ones_own(home: Home, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o755)
    (home.root / "models").rmdir()
    (home.root / "models").symlink_to(disk)
    (home.root / "dangling").symlink_to(tmp_path / "nowhere")
    with home.take():
        pass
    disk.chmod(0o777)
    assert f"{disk} is not safe" in refusal(home)


def test_a_place_from_which_the_home_can_be_moved_away_is_refused(home: Home) -> None:
    home.root.parent.chmod(0o777)
    assert "every user may write to it" in refusal(home)
    home.root.parent.chmod(0o1777)
    with home.take():
        pass


def owned_by(path: Path, uid: int) -> Callable[[Path], os.stat_result]:
    """As `os.lstat` would say it if a user owned one file."""

    def look(asked: Path) -> os.stat_result:
        found = os.lstat(asked)
        return os.stat_result([*found[:4], uid, *found[5:10]]) if asked == path else found

    return look


@pytest.mark.parametrize("place", ["", "run", "keys/log.pem", "token"])
def test_what_another_user_owns_is_refused(home: Home, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home.root / place
    monkeypatch.setattr(Path, "lstat", owned_by(path, os.geteuid() + 4711))
    assert f"user {os.geteuid() + 4711} owns it" in refusal(home)


def test_a_place_that_another_user_owns_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    look = owned_by(home.root.parent, os.geteuid() + 4711)
    monkeypatch.setattr(Path, "stat", lambda path, **_: look(path))
    assert "can replace what is in it" in refusal(home)
