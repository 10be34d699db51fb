import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.images.sources import Archive, fetch_archive, llama_cpp_commit, parse_archives, unpack_source
from supervisor.setup.images.unpacking import unpack_files
from tests.places import REPOSITORY
from tests.silent_progress import SilentProgress

SOURCES = REPOSITORY / "runtime-image" / "sources.txt"
HEX = "ab" * 32


def tar_of(*members: tuple[str, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.SYMTYPE
                member.linkname = "/etc/passwd"
            else:
                member.size = len(content)
                member.mode = 0o4777
            tar.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


def archive_of(content: bytes, name: str = "tiny", is_source: bool = True) -> Archive:
    return Archive(name, "1.0", hashlib.sha256(content).hexdigest(), len(content), is_source)


def test_the_committed_sources_name_one_version_by_hash() -> None:
    archive = parse_archives(SOURCES.read_text())["llama-cpp-python"]
    assert archive.version == "0.3.36"
    assert archive.requirement == f"llama-cpp-python==0.3.36 --hash=sha256:{archive.sha256}"


@pytest.mark.parametrize(
    "line",
    [
        "tiny==1.0",
        "tiny>=1.0 --hash=sha256:" + HEX + "  # 1",
        "tiny==1.0 --hash=sha256:abc  # 1",
        "tiny==1.0 --hash=sha256:" + HEX,
        "-e . --hash=sha256:" + HEX + "  # 1",
    ],
)
def test_a_source_that_is_not_pinned_is_refused(line: str) -> None:
    with pytest.raises(SetupError) as caught:
        parse_archives(line)
    assert caught.value.code == "definition_invalid"


def wheel(directory: Path) -> bytes:
    path = directory / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny.py", "")
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("tiny-1.0.dist-info/RECORD", "")
    return path.read_bytes()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def test_an_archive_is_fetched_by_its_hash_and_kept(tmp_path: Path, index: Path) -> None:
    archive = archive_of(wheel(index), is_source=False)
    kept = fetch_archive(tmp_path, archive, "why", SilentProgress())
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == archive.sha256
    for file in index.iterdir():
        file.unlink()
    assert fetch_archive(tmp_path, archive, "why", SilentProgress()) == kept


def test_an_archive_of_another_hash_is_not_kept(tmp_path: Path, index: Path) -> None:
    wheel(index)
    with pytest.raises(SetupError, match=r"(?s)pip could not fetch tiny 1.0.*HASHES") as caught:
        fetch_archive(tmp_path, archive_of(b"other", is_source=False), "why", SilentProgress())
    assert caught.value.code == "source_fetch_failed"
    assert not list((tmp_path / "cache" / "archives").iterdir())


def test_a_source_is_unpacked_once_under_its_digest(tmp_path: Path) -> None:
    content = tar_of(("tiny-1.0/a/b.txt", b"text"))
    (tmp_path / "file").write_bytes(content)
    archive = archive_of(content)
    directory = unpack_source(tmp_path, archive, tmp_path / "file", SilentProgress())
    assert (directory / "a" / "b.txt").read_bytes() == b"text"
    assert unpack_source(tmp_path, archive, tmp_path / "absent", SilentProgress()) == directory


@pytest.mark.parametrize("content", [b"no archive", gzip.compress(b"no tar"), tar_of(("../x", b"1"))])
def test_a_damaged_source_leaves_nothing_that_looks_unpacked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SetupError) as caught:
        unpack_source(tmp_path, archive_of(content), tmp_path / "file", SilentProgress())
    assert caught.value.code == "source_invalid"
    assert not list((tmp_path / "cache" / "sources").iterdir())


def test_links_are_left_out_and_files_lose_special_modes(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(("link", None), ("dir/file", b"x")))) as tar:
        unpack_files(tar, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dir"]
    assert (tmp_path / "dir" / "file").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["/absolute", "a/../../outside"])
def test_a_name_that_leads_out_of_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    with (
        tarfile.open(fileobj=io.BytesIO(tar_of((name, b"x")))) as tar,
        pytest.raises(tarfile.TarError),
    ):
        unpack_files(tar, tmp_path)


CHANGELOG = """# Changelog
## [1.1]

- feat: update llama.cpp to ggml-org/llama.cpp@1111111

## [1.0]

- fix: something
- feat: update llama.cpp to ggml-org/llama.cpp@0c1e57098
- feat: update llama.cpp to ggml-org/llama.cpp@2222222

## [0.9]

- feat: update llama.cpp to ggml-org/llama.cpp@3333333
"""


def test_the_commit_is_the_newest_one_of_the_versions_own_section(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    assert llama_cpp_commit(tmp_path, "1.0") == "0c1e57098"


def test_no_commit_is_named_where_the_change_log_has_none(tmp_path: Path) -> None:
    assert llama_cpp_commit(tmp_path, "1.0") is None
    (tmp_path / "CHANGELOG.md").write_text("## [1.0]\n\n- fix\n\n## [0.9]\n\n- ggml-org/llama.cpp@1111111\n")
    assert llama_cpp_commit(tmp_path, "1.0") is None
    assert llama_cpp_commit(tmp_path, "2.0") is None
