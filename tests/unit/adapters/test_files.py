import fcntl
from pathlib import Path

import pytest

from supervisor.adapters.files import (
    build_lock,
    digest_of,
    read_record,
    replacing,
    sha256_of_file,
    usable_home,
    write_record,
)
from supervisor.domain.errors import SetupError


def write_and_fail(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_a_file_half_written_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with replacing(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(path)
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", {"b": 1, "a": ["x"]})
    assert read_record(tmp_path / "r.json") == {"a": ["x"], "b": 1}


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path / "r.json") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_record_is_refused_with_the_command_that_mends_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=f"rm {path}") as caught:
        read_record(path)
    assert caught.value.code == "record_invalid"


def test_a_digest_depends_on_content_and_not_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_a_files_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "f").startswith("ba7816bf8f01cfea")


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
