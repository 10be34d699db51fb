"""Files that must be whole or not there at all, and readable by their owner only."""

import fcntl
import hashlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from supervisor.domain.errors import SetupError

__all__ = [
    "build_lock",
    "digest_of",
    "read_record",
    "replacing",
    "sha256_of_file",
    "usable_home",
    "write_private",
    "write_record",
    "write_whole",
]


def write_private(path: Path, data: bytes) -> None:
    """Put a file in place in one step, durably, with mode 0600; its directory is made with mode 0700."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def write_whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; it is in place, durably, when the block has ended well, and nowhere if not."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


LOCK_POLL_S = 0.2


def digest_of(value: object) -> str:
    """Return the SHA-256 of a JSON value, its keys sorted: the key of whatever was made from it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Give a temporary file to write; it takes the place of `path` if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_record(path: Path, record: dict[str, object]) -> None:
    """Write a JSON object."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, object] | None:
    """Return the JSON object of a file, None where there is no file.

    Raises:
        SetupError: record_invalid.
    """
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SetupError("record_invalid", _mend_record(path)) from error
    if not isinstance(record, dict):
        raise SetupError("record_invalid", _mend_record(path))
    return record


def _mend_record(path: Path) -> str:
    return f"{path} does not hold what set-up writes there. Remove it and set up again: rm {path} && make setup"


@contextmanager
def usable_home(home: Path) -> Iterator[None]:
    """Turn what the filesystem refuses into an error that a person can act on.

    Raises:
        SetupError: home_unusable.
    """
    try:
        yield
    except OSError as error:
        message = (
            f"{home} cannot be used: {error}. It needs some GB that this user may write: df -h {home}; "
            "or choose another place: export WEOS_HOME=/path"
        )
        raise SetupError("home_unusable", message) from error


@contextmanager
def build_lock(home: Path, timeout_s: float = 5400.0) -> Iterator[None]:
    """Hold the right to build under `home`.

    Raises:
        SetupError: home_busy, when another process builds for longer than `timeout_s`.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline_s = time.monotonic() + timeout_s
    with (home / "images.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    message = (
                        f"another process has been building in {home} for {timeout_s:.0f} s; "
                        f"see which: fuser {file.name}"
                    )
                    raise SetupError("home_busy", message) from None
                time.sleep(LOCK_POLL_S)
        yield
