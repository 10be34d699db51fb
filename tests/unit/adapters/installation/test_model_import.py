import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.adapters.files import digest_of_file
from supervisor.adapters.installation.model_claim import Claim
from supervisor.adapters.installation.model_source import require_room
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.errors import EngineError
from supervisor.domain.planning.installation import InstalledModel
from tests.places import REPOSITORY
from tests.whole_models import write_gguf

DEADLINE_S = 60
TERABYTE = 10**12


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home" / "models")


def add(store: ModelStore, source: Path, name: str = "tiny", claim: Claim | None = None) -> InstalledModel:
    return store.add(name, source, claim, progress=lambda _: None)


def folders(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "home" / "models").iterdir() if path.is_dir())


def add_quietly(store: ModelStore, source: Path) -> None:
    add(store, source)


@pytest.fixture
def deadline() -> Iterator[None]:
    """Fail where an import waits without end."""

    def fail(_signal: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def weos(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process with a deadline, so that an import that hangs fails the test."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        env={**os.environ, "WEOS_HOME": str(home), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def unmeasured_environment() -> dict[str, str]:
    """Return the environment of a process that is killed or may write little, and would leave half a coverage file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return kept | {"PYTHONPATH": str(REPOSITORY)}


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_sparse_giant(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, TERABYTE)


def make_sparse_giant_with_a_head(path: Path) -> None:
    write_gguf(path)
    os.truncate(path, TERABYTE)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_fifo, "it is a pipe"),
        (make_socket, "it is a socket"),
        (Path.mkdir, "it is a directory"),
        (make_link_to_device, "it is a device"),
        (make_link_to_fifo, "it is a pipe"),
        (make_loop, "cannot be read: Too many levels of symbolic links"),
        (lambda path: None, "cannot be read: No such file"),
        (Path.touch, "it is empty"),
        (make_sparse_giant, "does not begin like a GGUF file"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: path.write_bytes(b"<!doctype html>"), "a web page"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(60)), "a ZIP archive"),
        (lambda path: path.write_bytes((100).to_bytes(8, "little") + b'{"__metadata__"'), "safetensors"),
    ],
)
def test_what_is_no_model_file_is_refused_at_once_by_its_own_name(
    store: ModelStore, tmp_path: Path, deadline: None, make: object, why: str
) -> None:
    source = tmp_path / "my-model.gguf"
    assert callable(make)
    make(source)
    with pytest.raises(EngineError, match=why) as caught:
        add(store, source)
    assert caught.value.code == "model_refused"
    assert caught.value.detail.startswith(f"{source} is refused: ")
    assert not (tmp_path / "home" / "models").exists()


def test_the_command_does_not_wait_for_a_pipe_or_a_device(tmp_path: Path) -> None:
    make_fifo(tmp_path / "pipe")
    for source in (str(tmp_path / "pipe"), "/dev/zero"):
        ran = weos(tmp_path / "home", "models", "add", "tiny", source)
        assert (ran.returncode, f"model_refused: {source} is refused: it is a" in ran.stderr) == (1, True), ran.stderr


def test_a_sparse_giant_that_begins_like_a_model_is_refused_at_once(
    store: ModelStore, tmp_path: Path, deadline: None
) -> None:
    make_sparse_giant_with_a_head(tmp_path / "giant.gguf")
    with pytest.raises(EngineError, match="giant") as caught:
        add(store, tmp_path / "giant.gguf")
    # Its head may already tell that the file is longer than its tensors.
    assert caught.value.code in {"disk_full", "model_refused"}
    assert not list((tmp_path / "home").rglob("*.gguf"))


def test_room_is_told_in_gigabytes_and_with_the_disk(tmp_path: Path) -> None:
    require_room("x", 1, tmp_path)
    with pytest.raises(EngineError, match=rf"1000\.00 GB, and [0-9.]+ GB are free on the disk of {tmp_path}") as caught:
        require_room("x", TERABYTE, tmp_path)
    assert caught.value.code == "disk_full"
    assert "mounted at /" in caught.value.detail


def test_a_disk_that_becomes_full_half_way_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")
    script = f"""
        import resource
        from pathlib import Path
        from supervisor.adapters.installation.model_store import ModelStore
        from supervisor.domain.errors import EngineError
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            ModelStore(Path({str(tmp_path / "home" / "models")!r})).add(
                "tiny", Path({str(source)!r}), progress=lambda _: None
            )
        except EngineError as error:
            print(error.code, error.detail)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=unmeasured_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ran.stdout.startswith(f"disk_full there is no room for {source}"), ran.stderr
    assert folders(tmp_path) == []


@contextmanager
def importing_half_way(store: Path, source: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has copied a part of a file into the store and goes no further."""
    script = f"""
        import time
        from pathlib import Path
        from supervisor.adapters.installation.model_store import ModelStore

        def stop(size_bytes: int) -> None:
            print("half-way", flush=True)
            time.sleep({DEADLINE_S})

        ModelStore(Path({str(store)!r})).add("slow", Path({str(source)!r}), progress=stop)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=unmeasured_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "half-way\n"
            yield process
        finally:
            process.kill()


def test_a_slow_import_holds_up_no_other(store: ModelStore, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")
    with importing_half_way(tmp_path / "home" / "models", source):
        add(store, write_gguf(tmp_path / "other.gguf", seed=1))
        # Its directory is in use, so nobody takes it for a left one.
        assert len(folders(tmp_path)) == 2
        assert store.leftovers() == ()
        assert store.remove_leftovers() == 0
        store.remove("tiny", "f32")


def test_a_killed_import_is_named_and_the_next_removes_what_it_left(store: ModelStore, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")
    with importing_half_way(tmp_path / "home" / "models", source) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
    (left,) = store.leftovers()
    assert left.path.name.startswith("incoming-")
    assert left.is_removed_later
    assert store.list() == ()
    installed = add(store, source)
    assert folders(tmp_path) == [installed.sha256.removeprefix("sha256:")]
    assert store.leftovers() == ()


def test_a_start_removes_what_a_killed_import_left(store: ModelStore, tmp_path: Path) -> None:
    assert (store.leftovers(), store.remove_leftovers()) == ((), 0)
    left = tmp_path / "home" / "models" / "incoming-123"
    left.mkdir(parents=True)
    (left / "model.gguf").write_bytes(bytes(8192))
    assert [each.size_bytes for each in store.leftovers()] == [8192]
    assert store.remove_leftovers() == 8192
    assert folders(tmp_path) == []


def test_a_file_that_no_name_leads_to_is_named_but_kept(store: ModelStore, tmp_path: Path) -> None:
    installed = add(store, write_gguf(tmp_path / "m.gguf"))
    index = tmp_path / "home" / "models" / "models.json"
    index.write_text("{")
    with pytest.raises(EngineError, match=rf"mv {index} .*\.damaged.*ls .*/\*/model\.gguf") as caught:
        store.list()
    assert caught.value.code == "model_index_damaged"
    index.rename(f"{index}.damaged")
    store.remove_leftovers()
    (left,) = store.leftovers()
    assert not left.is_removed_later
    # As the message says: the file that is still there is added again.
    assert add(store, left.path / "model.gguf") == installed
    assert store.leftovers() == ()


def test_two_imports_of_one_file_at_the_same_time_work(store: ModelStore, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")
    inner: list[InstalledModel] = []

    def add_too(_size_bytes: int) -> None:
        inner.append(add(store, source, "inner"))

    outer = store.add("outer", source, progress=add_too)
    assert [model.name for model in store.list()] == ["inner", "outer"]
    assert inner[0].sha256 == outer.sha256
    for model in store.list():
        store.verify(model.name, model.quantization, lambda _: None)
    assert len(folders(tmp_path)) == 1


def test_a_name_that_is_taken_while_a_file_is_copied_is_not_taken_over(store: ModelStore, tmp_path: Path) -> None:
    source, other = write_gguf(tmp_path / "m.gguf"), write_gguf(tmp_path / "other.gguf", seed=1)
    with pytest.raises(EngineError, match="already installed from another file"):
        store.add("tiny", source, progress=lambda _: add_quietly(store, other))
    assert [model.sha256 for model in store.list()] == [digest_of_file(other)]
    assert len(folders(tmp_path)) == 1


def test_a_source_that_changes_while_it_is_copied_is_refused(store: ModelStore, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")

    def change(_size_bytes: int) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    with pytest.raises(EngineError, match="it changed while it was copied"):
        store.add("tiny", source, progress=change)
    assert folders(tmp_path) == []


def test_a_link_to_a_file_is_followed_and_a_copy_kept(store: ModelStore, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")
    (tmp_path / "link.gguf").symlink_to(source)
    installed = add(store, tmp_path / "link.gguf")
    copy = tmp_path / "home" / "models" / installed.sha256.removeprefix("sha256:") / "model.gguf"
    assert copy.lstat().st_ino != source.stat().st_ino
    assert not copy.is_symlink()


@pytest.mark.parametrize(("quantization", "architecture"), [("F32", "Llama"), ("f32", None), (None, "LLAMA")])
def test_capitals_of_a_claim_do_not_matter(
    store: ModelStore, tmp_path: Path, quantization: str | None, architecture: str | None
) -> None:
    installed = add(store, write_gguf(tmp_path / "m.gguf"), claim=Claim(quantization, architecture))
    assert (installed.quantization, installed.architecture) == ("f32", "llama")


def test_a_file_of_another_digest_is_not_installed(store: ModelStore, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")
    other = "sha256:" + "0" * 64
    for take in (False, True):
        with pytest.raises(EngineError, match=f"{source} is not installed.*not {other}") as caught:
            store.add("tiny", source, Claim(sha256=other), progress=lambda _: None, take=take)
        assert caught.value.code == "digest_mismatch"
        assert source.exists()
    assert folders(tmp_path) == []
    assert add(store, source, claim=Claim(sha256=digest_of_file(source)))


def test_a_file_that_is_taken_is_moved_unless_it_has_another_name(store: ModelStore, tmp_path: Path) -> None:
    seen: list[int] = []
    source = write_gguf(tmp_path / "m.gguf")
    size_bytes, inode = source.stat().st_size, source.stat().st_ino
    installed = store.add("tiny", source, progress=seen.append, take=True)
    copy = tmp_path / "home" / "models" / installed.sha256.removeprefix("sha256:") / "model.gguf"
    assert (source.exists(), copy.stat().st_ino, sum(seen)) == (False, inode, size_bytes)
    assert copy.stat().st_mode & 0o777 == 0o444
    other = write_gguf(tmp_path / "other.gguf", seed=1)
    (tmp_path / "second-name").hardlink_to(other)
    store.add("other", other, progress=lambda _: None, take=True)
    assert other.exists()
