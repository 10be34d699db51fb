import fcntl
import os
import threading
from pathlib import Path

import pytest

from supervisor.adapters.files import (
    build_lock,
    cache_key,
    digest_of_file,
    locked,
    read_record,
    replaced,
    rotate_log,
    usable_home,
    write_private,
    write_public,
    write_record,
)
from supervisor.domain.errors import SetupError


def write_and_fail(path: Path) -> None:
    with replaced(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_a_file_half_written_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with replaced(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(path)
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("mode", "directory_mode"), [(0o600, 0o700), (0o644, 0o755)])
def test_a_file_has_the_mode_that_was_asked_for(tmp_path: Path, mode: int, directory_mode: int) -> None:
    path = tmp_path / "new" / "file"
    umask = os.umask(0o022)
    try:
        with replaced(path, mode) as temporary:
            # Private until the content is complete.
            assert temporary.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(umask)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (mode, directory_mode)


def test_without_a_mode_the_umask_decides_and_the_directory_must_exist(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with replaced(tmp_path / "file", None):
            pass
    finally:
        os.umask(umask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    with pytest.raises(FileNotFoundError), replaced(tmp_path / "missing" / "file", None):
        pass


def test_file_and_directory_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    write_public(tmp_path / "file", b"x")
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    write_public(tmp_path / "file", b"one")
    write_private(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as file:
        file.write("owner")
        file.flush()
        with pytest.raises(BlockingIOError), locked(path, timeout_s=0):
            pass
    with locked(path, timeout_s=0) as file:
        file.seek(0)
        assert file.read() == "owner"


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = path.open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    timer = threading.Timer(0.1, held.close)
    timer.start()
    with locked(path, timeout_s=30):
        assert held.closed
    timer.join()


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", {"b": 1, "a": ["x"]})
    assert read_record(tmp_path / "r.json") == {"a": ["x"], "b": 1}


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path / "r.json") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_record_is_refused_with_the_command_that_fixes_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=f"rm {path}") as caught:
        read_record(path)
    assert caught.value.code == "record_invalid"


def test_a_key_depends_on_content_and_not_on_the_order_of_keys() -> None:
    assert cache_key({"a": 1, "b": 2}) == cache_key({"b": 2, "a": 1})
    assert cache_key({"a": 1}) != cache_key({"a": 2})


def test_a_files_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert digest_of_file(tmp_path / "f").startswith("sha256:ba7816bf8f01cfea")


def test_a_second_builder_waits_and_is_told_who_holds_the_home(tmp_path: Path) -> None:
    with build_lock(tmp_path), pytest.raises(SetupError, match="fuser") as caught, build_lock(tmp_path, 0.0):
        pass
    assert caught.value.code == "home_busy"


def test_the_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), build_lock(tmp_path):
        raise RuntimeError
    with (tmp_path / "images.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_the_filesystem_refuses_names_the_home_and_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="WEOS_HOME") as caught, usable_home(tmp_path):
        (tmp_path / "file" / "below").mkdir()
    assert caught.value.code == "home_unusable"


def test_a_log_that_has_grown_is_kept_once_beside_the_next_one(tmp_path: Path) -> None:
    log, kept = tmp_path / "a.log", tmp_path / "a.log.1"
    rotate_log(log, max_bytes=5)
    log.write_text("1234")
    rotate_log(log, max_bytes=5)
    assert (log.read_text(), kept.exists()) == ("1234", False)
    for text in ("first", "second"):
        log.write_text(text)
        rotate_log(log, max_bytes=5)
        assert (log.exists(), kept.read_text()) == (False, text)
