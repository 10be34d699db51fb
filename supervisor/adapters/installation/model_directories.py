"""The directories of the model store that no name leads to: models on their way in or out, and what was left behind.

A directory is in use while a process holds a lock (flock) on it. The kernel gives the lock back when the process ends,
however it ends, so what a killed process left is known by its free lock.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LeftDirectory", "asides", "find_left", "held", "incoming", "put_aside", "remove_left"]

INCOMING = "incoming-"
REMOVED = "removed-"
BLOB = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LeftDirectory:
    """A directory of the store that belongs to no installed model and that no process uses."""

    path: Path
    size_bytes: int
    is_removed_later: bool
    """Whether the next import or start removes it; otherwise only a person can."""


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_at(descriptor: int, directory: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), directory.lstat())
    except OSError:
        return False


@contextmanager
def incoming(store: Path) -> Iterator[Path]:
    """Give a new directory for a model on its way in; it is removed at the end unless it was renamed.

    The caller holds the store's lock when the block begins, so that nobody takes the directory for a left one.
    """
    directory = store / f"{INCOMING}{secrets.token_hex(8)}"
    directory.mkdir(mode=0o755)
    descriptor = _open(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keep a model's directory from being deleted while the block runs; it may be put aside meanwhile.

    Raises:
        OSError: it is not there.
    """
    descriptor = _open(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        was_put_aside = not _is_at(descriptor, directory)
        os.close(descriptor)
        if was_put_aside:
            for aside in asides(directory.parent):
                _remove_unused(aside)


def put_aside(directory: Path) -> bool:
    """Take a model's directory out of the store, and return whether it is gone; otherwise a sandbox still uses it.

    Moving keeps the file as its users know it: deleting would change its number of links, hence its time of change.
    """
    aside = directory.with_name(f"{REMOVED}{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):
        directory.rename(aside)
    _remove_unused(aside)
    return not aside.exists()


def asides(store: Path) -> list[Path]:
    """Return the directories of removed models that are not deleted yet."""
    return sorted(store.glob(f"{REMOVED}*"))


def remove_left(store: Path) -> int:
    """Delete what killed processes left, and return the number of bytes; the caller holds the store's lock."""
    return sum(_remove_unused(directory) for directory in _passing(store))


def find_left(store: Path, named: frozenset[str]) -> tuple[LeftDirectory, ...]:
    """Return what processes left behind; the caller holds the store's lock.

    Args:
        store: the store's directory.
        named: names of the directories that the index knows.
    """
    left = [
        LeftDirectory(path, _size_bytes(path), is_removed_later=True) for path in _passing(store) if _is_unused(path)
    ]
    lost = (path for path in sorted(store.iterdir()) if BLOB.fullmatch(path.name) and path.name not in named)
    return (*left, *(LeftDirectory(path, _size_bytes(path), is_removed_later=False) for path in lost))


def _passing(store: Path) -> list[Path]:
    return sorted(path for path in store.iterdir() if path.name.startswith((INCOMING, REMOVED)))


def _size_bytes(directory: Path) -> int:
    # What the disk holds: a file that was cut short may be sparse.
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def _is_unused(directory: Path) -> bool:
    with _lock_if_unused(directory) as is_unused:
        return is_unused


def _remove_unused(directory: Path) -> int:
    with _lock_if_unused(directory) as is_unused:
        if not is_unused:
            return 0
        size_bytes = _size_bytes(directory)
        shutil.rmtree(directory, ignore_errors=True)
        return size_bytes


@contextmanager
def _lock_if_unused(directory: Path) -> Iterator[bool]:
    try:
        descriptor = _open(directory)
    except OSError:
        # Gone meanwhile, or no directory.
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
