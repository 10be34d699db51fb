"""Whether a home is its owner's alone: a user who can write there decides what the supervisor runs and signs."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from supervisor.domain.errors import EngineError

__all__ = ["require_own_home"]

ROOT_UID = 0
WRITABLE = stat.S_IWGRP | stat.S_IWOTH
SEARCHABLE = stat.S_IXGRP | stat.S_IXOTH
# What the supervisor writes secrets or its socket into; a link would lead its writes, and changes of mode, elsewhere.
# Everything in them is looked at. The others may be links, such as `models` to a larger disk.
OWN_DIRECTORIES = ("run", "keys", "tokens", "ledger")


def require_own_home(root: Path) -> None:
    """Refuse a home that somebody else owns or may write to, or that holds what somebody else put there.

    Root is trusted: it needs no file to get what it wants.

    Raises:
        EngineError: ``home_unsafe``, with the path and what to do.
    """
    resolved = root.resolve()
    for parent in resolved.parents:
        # What is missing will be made.
        if parent.exists():
            _require_steady(parent)
    if not root.exists():
        return
    _require_own(resolved)
    # Where nobody else gets in, modes inside mean nothing; many systems make new files writable to the group.
    forbidden = WRITABLE if resolved.stat().st_mode & SEARCHABLE else 0
    for path in sorted(resolved.iterdir()):
        _require_own(path, forbidden)
        if path.name in OWN_DIRECTORIES:
            if path.is_symlink() or not path.is_dir():
                raise _unsafe(path, "it is not a directory", f"look who made it, and remove it: rm {path}")
            for inner in _walk(path):
                _require_own(inner, forbidden)


def _walk(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _require_steady(parent: Path) -> None:
    """Refuse a place from which others can move the home away; in a sticky one, such as /tmp, they cannot."""
    found = parent.stat()
    if found.st_uid not in {ROOT_UID, os.geteuid()}:
        raise _unsafe(parent, f"user {found.st_uid} owns it and can replace what is in it", "choose another WEOS_HOME")
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise _unsafe(parent, "every user may write to it", f"chmod o-w {parent}, or choose another WEOS_HOME")


def _require_own(path: Path, forbidden: int = WRITABLE) -> None:
    found = path.lstat()
    if found.st_uid not in {ROOT_UID, os.geteuid()}:
        what = f"user {found.st_uid} owns it, and this is user {os.geteuid()}"
        raise _unsafe(path, what, f"look what it is; then remove it, or: chown {os.geteuid()} {path}")
    # The mode of a link means nothing.
    if not stat.S_ISLNK(found.st_mode) and found.st_mode & forbidden:
        raise _unsafe(path, "others may write to it", f"look whether they did; then: chmod go-w {path}")
    if stat.S_ISLNK(found.st_mode) and path.exists():
        _require_own(path.resolve())


def _unsafe(path: Path, what: str, to_do: str) -> EngineError:
    return EngineError("home_unsafe", f"{path} is not safe: {what}; {to_do}")
