"""Set-up on a machine that cannot work: refused before a container engine is looked for or anything is made."""

from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.commands import setup
from supervisor.commands.setup import prepare
from supervisor.domain.errors import SetupError
from tests.silent_progress import SilentProgress


def test_a_machine_that_cannot_work_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "ensure_container_engine", lambda *_: pytest.fail("looked for"))
    home = Home(tmp_path / "we os")
    with pytest.raises(SetupError, match="contains a space") as caught:
        prepare(home, SilentProgress())
    assert caught.value.code == "machine_unsuitable"
    assert not home.root.exists()


def test_a_container_engine_that_cannot_work_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "ensure_container_engine", lambda *_: "unix:///engine")
    monkeypatch.setattr(setup, "find_container_engine_obstacle", lambda *_: "this Docker is a snap")
    monkeypatch.setattr(setup, "build_runtime_image", lambda *_: pytest.fail("built"))
    with pytest.raises(SetupError, match="this Docker is a snap") as caught:
        prepare(Home(tmp_path / "home"), SilentProgress())
    assert caught.value.code == "machine_unsuitable"
