"""The file that a model is installed from: opened without waiting, and copied in only where there is room."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

from contracts.wire.types import Digest
from contracts.wire.units import MIB
from supervisor.domain.errors import EngineError

__all__ = [
    "BEGIN_BYTES",
    "Progress",
    "copy_in",
    "hash_file",
    "move_in",
    "open_model_file",
    "require_magic",
    "require_room",
]

Progress = Callable[[int], None]
CHUNK_BYTES = MIB
# What stays free on the disk: for the index, the ledger and logs.
MARGIN_BYTES = 64 * MIB
GB = 1_000_000_000
MAGIC = b"GGUF"
# Enough to tell every format that is told apart here.
BEGIN_BYTES = 64
# What is often taken for a model file, by how it begins.
OTHER_FORMATS = {
    b"version https://git-lfs": "it is a Git LFS pointer instead of the file; get the file with: git lfs pull",
    b"PK\x03\x04": "it is a ZIP archive, as PyTorch writes; convert it with llama.cpp's convert_hf_to_gguf.py",
    b"<": "it is a web page, which a server sent instead of the file",
}
SAFETENSORS_BEGIN = b'{"'
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
# What the operating system says where a disk, a quota or the file system's longest file is exhausted.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _refuse(path: Path, why: str) -> EngineError:
    return EngineError("model_refused", f"{path} is refused: {why}")


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise _refuse(path, f"it is {kind}, and a model is a regular file")


def open_model_file(path: Path) -> IO[bytes]:
    """Open a file that begins like a GGUF file; nothing that could block is opened.

    Raises:
        EngineError: ``model_refused``: it cannot be read, is no regular file, is empty or begins otherwise.
    """
    try:
        # Opening some devices has an effect, so the kind is looked at first; it may change until the file is open.
        _require_regular(path, path.stat())
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise _refuse(path, f"it cannot be read: {error.strerror}") from error
    file = os.fdopen(descriptor, "rb")
    try:
        _require_regular(path, os.fstat(descriptor))
        require_magic(path, os.pread(descriptor, BEGIN_BYTES, 0))
    except BaseException:
        file.close()
        raise
    return file


def require_magic(path: Path, begin: bytes) -> None:
    """Require that a file begins like a GGUF file.

    Args:
        path: the file as its user knows it.
        begin: its first 64 bytes, or all there are.

    Raises:
        EngineError: ``model_refused``; the message names what is often taken for a model file.
    """
    if not begin:
        raise _refuse(path, "it is empty")
    if begin.startswith(MAGIC):
        return
    for other, why in OTHER_FORMATS.items():
        if begin.startswith(other):
            raise _refuse(path, why)
    if begin[8:10] == SAFETENSORS_BEGIN:
        why = "it is a file of safetensors; convert the model with llama.cpp's convert_hf_to_gguf.py"
        raise _refuse(path, why)
    raise _refuse(path, "it does not begin like a GGUF file")


def _mount_point(directory: Path) -> Path:
    place = directory.resolve()
    while place.parent != place and place.parent.stat().st_dev == place.stat().st_dev:
        place = place.parent
    return place


def _no_room(what: str, needed_bytes: int, directory: Path) -> EngineError:
    disk = os.statvfs(directory)
    free_bytes = disk.f_bavail * disk.f_frsize
    detail = (
        f"there is no room for {what}: it needs {needed_bytes / GB:.2f} GB, and {free_bytes / GB:.2f} GB are free on "
        f"the disk of {directory} (mounted at {_mount_point(directory)}). Free some, or choose another disk: "
        "export WEOS_HOME=/path"
    )
    return EngineError("disk_full", detail)


def _changed(shown: Path) -> EngineError:
    return _refuse(shown, "it changed while it was copied; add it when nothing writes to it any more")


def require_room(what: str, needed_bytes: int, directory: Path) -> None:
    """Require that a disk has room for a file.

    Args:
        what: the file, for the message.
        needed_bytes: its size.
        directory: where it will lie; it exists.

    Raises:
        EngineError: ``disk_full``.
    """
    disk = os.statvfs(directory)
    if needed_bytes + MARGIN_BYTES > disk.f_bavail * disk.f_frsize:
        raise _no_room(what, needed_bytes, directory)


def copy_in(source: IO[bytes], shown: Path, target: Path, progress: Progress) -> Digest:
    """Copy a file durably and return its digest.

    Args:
        source: the open file.
        shown: the file as its user knows it.
        target: where the copy is made; it does not exist yet.
        progress: called with the number of bytes of each step done.

    Raises:
        EngineError: ``disk_full``, or ``model_refused`` where the file changes meanwhile.
    """
    before = os.fstat(source.fileno())
    require_room(str(shown), before.st_size, target.parent)
    digest = hashlib.sha256()
    try:
        with target.open("xb") as writer:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                writer.write(chunk)
                if writer.tell() > before.st_size:
                    raise _changed(shown)
                progress(len(chunk))
            writer.flush()
            os.fsync(writer.fileno())
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _no_room(str(shown), before.st_size, target.parent) from error
        raise
    after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise _changed(shown)
    # Read by the container's own user through the mount; written by nobody.
    target.chmod(0o444)
    return f"sha256:{digest.hexdigest()}"


def move_in(source: Path, target: Path, progress: Progress) -> Digest | None:
    """Take a file over instead of copying it, and return its digest; None: it has to be copied.

    Args:
        source: the file, which nobody else uses.
        target: where it goes.
        progress: called with the number of bytes of each step done.
    """
    status = source.lstat()
    # Another name of the file could change what lies in the store.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_dev != target.parent.stat().st_dev:
        return None
    source.rename(target)
    target.chmod(0o444)
    with target.open("rb") as file:
        os.fsync(file.fileno())
        return hash_file(file, progress)


def hash_file(file: IO[bytes], progress: Progress) -> Digest:
    """Return the digest of what is left to read of a file."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        progress(len(chunk))
    return f"sha256:{digest.hexdigest()}"
