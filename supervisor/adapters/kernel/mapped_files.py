"""Which files a process has mapped, and what is in them."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from contracts.wire.units import MIB

__all__ = ["MappedFileReader"]

CHUNK_BYTES = MIB
# proc_pid_maps(5): address, permissions, offset, device, inode, path; the kernel's own have a name in brackets.
PATH_FIELD = 5
REMEMBERED_MAX = 4096


class MappedFileReader:
    """Reads the digests of mapped files; a file of one image is hashed once as long as its identity stays."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], str] = {}

    def read(self, process: Path, image_id: str, *, without: str) -> dict[str, str | None] | None:
        """Return the SHA-256 of every mapped file by its path in the process's root, but for one path.

        None as a digest: there is no such file (it was deleted, or never had a name). None as a whole: this process may
        not look, which takes root or CAP_SYS_PTRACE (ptrace(2), PTRACE_MODE_READ).
        """
        try:
            lines = (process / "maps").read_text("utf-8", "replace").splitlines()
        except OSError:
            return None
        paths = {fields[PATH_FIELD] for line in lines if len(fields := line.split(None, PATH_FIELD)) > PATH_FIELD}
        named = {path for path in paths if path != without and not (path.startswith("[") and path.endswith("]"))}
        return self.digests(process / "root", named, image_id)

    def digests(self, directory: Path, paths: Iterable[str], image_id: str) -> dict[str, str | None]:
        """Return the SHA-256 of files by their path in a directory; None: there is no such file."""
        return {path: self._digest(directory, path, image_id) for path in sorted(paths)}

    def _digest(self, directory: Path, path: str, image_id: str) -> str | None:
        try:
            descriptor = os.open(directory / path.lstrip("/"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            key = (image_id, path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if key not in self._known:
                if len(self._known) >= REMEMBERED_MAX:
                    self._known.clear()
                self._known[key] = _hash(file.fileno(), status.st_size)
            return self._known[key]


def _hash(descriptor: int, size_bytes: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while offset < size_bytes and (chunk := os.pread(descriptor, CHUNK_BYTES, offset)):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()
