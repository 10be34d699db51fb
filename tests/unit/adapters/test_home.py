import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import bootstrap
from supervisor.adapters.files import write_private
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.identity.engine_version import development_version, source_digest
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.errors import EngineError


def test_a_private_file_is_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_token_is_made_once_and_private(empty_home: Home) -> None:
    token = empty_home.token()
    assert len(token) >= 40
    assert empty_home.token() == token
    assert empty_home.token_file.stat().st_mode & 0o777 == 0o600


def test_a_token_that_others_may_read_is_refused(empty_home: Home) -> None:
    empty_home.token()
    empty_home.token_file.chmod(0o644)
    with pytest.raises(EngineError, match="chmod 600"):
        empty_home.token()


def test_an_empty_token_never_disables_authentication(empty_home: Home) -> None:
    write_private(empty_home.token_file, "é".encode() * 40)
    with pytest.raises(EngineError, match="no usable token"):
        empty_home.token()
    write_private(empty_home.token_file, b"\n")
    with pytest.raises(EngineError, match="no usable token"):
        empty_home.token()


def test_reading_the_token_makes_none(empty_home: Home) -> None:
    assert empty_home.read_token() is None
    assert not empty_home.token_file.exists()
    assert empty_home.token() == empty_home.read_token()


def test_an_installation_knows_its_containers_by_one_id(empty_home: Home) -> None:
    assert empty_home.instance_id() == empty_home.instance_id()
    assert len(empty_home.instance_id()) == 32


def test_a_copied_home_does_not_take_the_originals_containers_for_its_own(empty_home: Home, tmp_path: Path) -> None:
    original = empty_home.instance_id()
    copy = Home(tmp_path / "copy")
    shutil.copytree(empty_home.root, copy.root)
    assert copy.instance_id() != original


def test_an_instance_file_that_holds_no_id_is_refused(empty_home: Home) -> None:
    write_private(empty_home.root / "instance", b"\n")
    with pytest.raises(EngineError, match="remove it"):
        empty_home.instance_id()


def test_a_run_directory_is_made_its_owners_alone(empty_home: Home) -> None:
    (empty_home.root / "run").mkdir(mode=0o755)
    with empty_home.take():
        pass
    assert (empty_home.root / "run").stat().st_mode & 0o777 == 0o700


def test_two_supervisors_cannot_have_one_home(empty_home: Home) -> None:
    with empty_home.take(), pytest.raises(EngineError, match=f"process {os.getpid()}"), empty_home.take():
        pass
    with empty_home.take():
        pass


def test_a_home_is_free_again_when_its_supervisor_was_killed(empty_home: Home) -> None:
    code = (
        "from supervisor.adapters.home import *\nwith Home(default_home()).take(): print('taken', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        with pytest.raises(EngineError), empty_home.take():
            pass
        other.kill()
        other.wait(10)
    with empty_home.take():
        pass


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HOME": "/user"}, "/user/.local/share/weos"),
        ({"HOME": "/user", "XDG_DATA_HOME": ""}, "/user/.local/share/weos"),
        ({"XDG_DATA_HOME": "/data"}, "/data/weos"),
        ({"XDG_DATA_HOME": "/data", "WEOS_HOME": "/elsewhere"}, "/elsewhere"),
        ({"XDG_DATA_HOME": "/data", "WEOS_HOME": ""}, "/data/weos"),
    ],
)
def test_bootstrap_and_engine_agree_on_the_home(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("XDG_DATA_HOME", "WEOS_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_home() == bootstrap.home() == Path(expected)


def test_a_version_changes_with_what_shapes_a_result(tmp_path: Path) -> None:
    for directory in ("contracts", "policies", "runtime-image", "supervisor"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "file").write_text(directory)
    one = source_digest(tmp_path)
    (tmp_path / "README.md").write_text("changes nothing")
    (tmp_path / "supervisor" / "__pycache__").mkdir()
    (tmp_path / "supervisor" / "__pycache__" / "x.pyc").write_text("changes nothing")
    assert source_digest(tmp_path) == one
    (tmp_path / "policies" / "file").write_text("changed")
    assert source_digest(tmp_path) != one


def test_this_tree_runs_as_a_development_version() -> None:
    assert development_version(SOURCE_ROOT).startswith("0.1.0+dev.")
