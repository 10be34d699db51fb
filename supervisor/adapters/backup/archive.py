"""A backup's archive: a tar file with a list of its contents first, and nothing in it but the files of that list."""

import io
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from contracts.wire.document import Contract
from contracts.wire.errors import ContractError
from contracts.wire.types import Digest
from supervisor.adapters.files import PRIVATE, digest_of_file
from supervisor.domain.errors import EngineError

__all__ = ["LEDGER", "TRUST", "BackupContents", "unpack_archive", "write_archive"]

CONTENTS = "backup.json"
LEDGER = "ledger.sqlite3"
TRUST = "trust.json"
# A part that begins with a dot could be `..`, or hide.
MEMBER = re.compile(rf"{LEDGER}|{TRUST}|(keys|releases|root)(/[A-Za-z0-9_][A-Za-z0-9._+-]{{0,127}}){{1,4}}")
MEMBERS_MAX = 10_000


class BackupContents(Contract):
    """The first file of the archive, `backup.json`."""

    schema_version: Literal["weos.backup/1"]
    """Kind and version of this document."""
    checkpoint: Annotated[str, Field(max_length=65_536)]
    """The ledger's checkpoint in this backup, as a signed note."""
    files: Annotated[dict[str, Digest], Field(max_length=MEMBERS_MAX)]
    """Digest of every other file, by name."""


def write_archive(target: Path, files: Mapping[str, Path], checkpoint: str) -> None:
    """Write an archive of these files.

    Args:
        target: an empty file.
        files: each file's place by its name in the archive.
        checkpoint: of the ledger among them.
    """
    digests = {name: digest_of_file(path) for name, path in sorted(files.items())}
    contents = BackupContents(schema_version="weos.backup/1", checkpoint=checkpoint, files=digests).canonical()
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_member(CONTENTS, len(contents)), io.BytesIO(contents))
        for name in digests:
            with files[name].open("rb") as file:
                tar.addfile(_member(name, files[name].stat().st_size), file)


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, PRIVATE
    return member


def unpack_archive(source: Path, directory: Path) -> BackupContents:
    """Write the archive's files into an empty directory, each readable by its owner only.

    Raises:
        EngineError: ``backup_unsound``; the archive is damaged, or holds anything else than what its list names.
    """
    try:
        with tarfile.open(source, "r:") as tar:
            contents = _read_contents(tar)
            missing = dict(contents.files)
            while (member := tar.next()) is not None:
                _write_member(tar, member, directory, missing)
    except (tarfile.TarError, ContractError, UnicodeError, EOFError) as error:
        raise _unsound(source, str(error)) from error
    except _UnsoundMember as error:
        raise _unsound(source, str(error)) from error
    if missing or not {LEDGER, TRUST} <= contents.files.keys():
        raise _unsound(source, f"it lacks {', '.join(sorted(missing)) or f'{LEDGER} or {TRUST}'}")
    return contents


class _UnsoundMember(Exception):
    """A member is not what it must be."""


def _unsound(source: Path, what: str) -> EngineError:
    detail = f"{source} is not a sound backup: {what}; nothing was restored. Take another copy of it"
    return EngineError("backup_unsound", detail)


def _read_contents(tar: tarfile.TarFile) -> BackupContents:
    member = tar.next()
    if member is None or member.name != CONTENTS or not _is_plain(member):
        message = f"its first file is not {CONTENTS}"
        raise _UnsoundMember(message)
    content = tar.extractfile(member)
    return BackupContents.parse(b"" if content is None else content.read(BackupContents.MAX_BYTES + 1))


def _is_plain(member: tarfile.TarInfo) -> bool:
    # A sparse member takes a few bytes here and any number on the disk.
    return member.type in {tarfile.REGTYPE, tarfile.AREGTYPE} and not member.issparse()


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, directory: Path, missing: dict[str, Digest]) -> None:
    name = member.name
    digest = missing.pop(name, None)
    if digest is None or not MEMBER.fullmatch(name) or not _is_plain(member):
        message = f"it has a member that does not belong there: {name!r}"
        raise _UnsoundMember(message)
    path = directory / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = tar.extractfile(member)
    if content is not None:
        with content, path.open("xb") as file:
            path.chmod(PRIVATE)
            shutil.copyfileobj(content, file)
    if content is None or digest_of_file(path) != digest:
        message = f"{name} is not what it was when the backup was made"
        raise _UnsoundMember(message)
