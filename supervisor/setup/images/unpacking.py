"""Regular files out of an archive: nothing lands outside the directory, and nothing but files lands in it."""

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

__all__ = ["unpack_files"]


def unpack_files(tar: tarfile.TarFile, target: Path, on_file: Callable[[str], None] = lambda _name: None) -> None:
    """Write the archive's regular files under `target`; links and devices are left out.

    `tarfile`'s own data filter does the like from Python 3.11.4 on; Debian 12 has 3.11.2.

    Raises:
        tarfile.TarError: a name leads out of the directory, or the archive is damaged.
    """
    for member in tar:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            message = "a name in the archive leads out of it"
            raise tarfile.ReadError(message)
        content = tar.extractfile(member) if member.isreg() else None
        if content is None:
            continue
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with content, path.open("wb") as file:
            shutil.copyfileobj(content, file)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
        on_file(member.name)
