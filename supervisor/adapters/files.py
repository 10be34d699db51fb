"""Files that are whole or not there at all, locks on files, and digests of what files hold."""

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from contracts.wire.types import Digest
from supervisor.domain.errors import SetupError

__all__ = [
    "LOG_MAX_BYTES",
    "PRIVATE",
    "PUBLIC",
    "build_lock",
    "cache_key",
    "digest_of_file",
    "locked",
    "read_record",
    "replaced",
    "rotate_log",
    "sync_directory",
    "usable_home",
    "write_private",
    "write_public",
    "write_record",
]

PRIVATE = 0o600
PUBLIC = 0o644
OTHERS = 0o077
LOCK_POLL_S = 0.2
LOG_MAX_BYTES = 10_485_760


@contextmanager
def replaced(path: Path, mode: int | None = PRIVATE) -> Iterator[Path]:
    """Give an empty file to write; it takes the place of `path`, durably, if the block ends without an error.

    Args:
        path: the file to replace or to create. Missing directories are created, private ones for a private file.
        mode: of the file; None means that the umask decides and that the directory must exist, as for a file that the
            user names.
    """
    if mode is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o777 if mode & OTHERS else 0o700)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(beside, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else PRIVATE)
    try:
        yield beside
        if mode is not None:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


def rotate_log(path: Path, max_bytes: int = LOG_MAX_BYTES) -> None:
    """Move a log that has grown to `max_bytes` to the same name with `.1`, in place of the one that is there."""
    if path.exists() and path.stat().st_size >= max_bytes:
        path.replace(path.with_name(f"{path.name}.1"))


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file that only its owner may read."""
    with replaced(path) as beside:
        beside.write_bytes(data)


def write_public(path: Path, data: bytes) -> None:
    """Replace a file that everybody may read."""
    with replaced(path, PUBLIC) as beside:
        beside.write_bytes(data)


@contextmanager
def locked(path: Path, timeout_s: float | None = None) -> Iterator[TextIO]:
    """Hold the lock of a file, and give the file, open for reading and appending.

    The lock is free again when the block or the process ends.

    Args:
        path: the lock's file, created if it is missing; its directory must exist.
        timeout_s: the longest wait; None means without end.

    Raises:
        BlockingIOError: another process still holds the lock.
    """
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    with path.open("a+", encoding="ascii") as file:
        if deadline_s is None:
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            _wait_for_lock(file, deadline_s)
        yield file


def _wait_for_lock(file: TextIO, deadline_s: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(LOCK_POLL_S)
        else:
            return


def cache_key(value: object) -> str:
    """Return the SHA-256, in hexadecimal, of a JSON value with sorted keys: for names of files and of images."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest_of_file(path: Path) -> Digest:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def write_record(path: Path, record: dict[str, object]) -> None:
    """Write a JSON object."""
    write_public(path, json.dumps(record, indent=1, sort_keys=True).encode("utf-8") + b"\n")


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
        raise SetupError("record_invalid", _how_to_fix_record(path)) from error
    if not isinstance(record, dict):
        raise SetupError("record_invalid", _how_to_fix_record(path))
    return record


def _how_to_fix_record(path: Path) -> str:
    return f"{path} does not hold what set-up writes there. Remove it and set up again: rm {path} && make setup"


@contextmanager
def usable_home(home: Path) -> Iterator[None]:
    """Turn an error of the file system into an error that a person can act on.

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
    path = home / "images.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, timeout_s))
        except BlockingIOError:
            message = f"another process has been building in {home} for {timeout_s:.0f} s; see which: fuser {path}"
            raise SetupError("home_busy", message) from None
        yield
