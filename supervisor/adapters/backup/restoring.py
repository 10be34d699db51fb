"""Restore a backup into a home that has no ledger, after every check that an auditor would make."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from contracts.ledger.note import parse_note
from contracts.ledger.proof import Checkpoint
from contracts.verify.log import verify_log
from contracts.verify.log_report import LogReport
from contracts.verify.trust import Trust
from contracts.wire.errors import ContractError
from supervisor.adapters.backup.archive import LEDGER, TRUST, BackupContents, unpack_archive
from supervisor.adapters.files import PUBLIC, sync_directory, write_private
from supervisor.adapters.home import LOG_KEY, Home
from supervisor.adapters.identity.keys import key_path, load_signer
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.ledger.export import export_lines, read_documents
from supervisor.adapters.ledger.log_identity import identify_log
from supervisor.adapters.ledger.reader import read_ledger
from supervisor.adapters.ledger.schema import SCHEMA
from supervisor.domain.errors import EngineError

__all__ = ["restore"]


def restore(home: Home, source: Path, *, trust: Trust | None, checkpoint: bytes | None) -> tuple[int, bool]:
    """Restore a backup; everything is in place when this returns, and nothing if it raises.

    Args:
        home: one without ledger, trust and releases, on which no supervisor is running. Where its checkpoint outlived
            the ledger, the backup must not be behind that.
        source: the archive.
        trust: whom the caller trusts; None means the backup's own trust file.
        checkpoint: the newest checkpoint of this ledger that the caller knows, as a signed note.

    Returns:
        The number of the ledger's entries, and whether the home has the ledger's key.

    Raises:
        EngineError: ``home_taken``, ``home_not_empty``, ``backup_unsound``, ``backup_behind``, ``ledger_unsound``,
            ``log_key_differs``, ``key_unsafe`` or ``passphrase_wrong``.
    """
    with home.take(), tempfile.TemporaryDirectory(dir=home.root, prefix=".restore-") as scratch:
        staged = Home(Path(scratch))
        contents = unpack_archive(source, staged.root)
        _require_room(home, contents)
        known = [note for note in (_outlived(home), checkpoint) if note is not None]
        for note in known:
            _require_not_behind(contents, note)
        entries = _verify(staged, contents, trust, known)
        has_key = _has_own_key(home, staged, contents)
        _move(staged, home, contents)
    return entries, has_key


def _outlived(home: Home) -> bytes | None:
    return home.checkpoint_copy.read_bytes() if home.checkpoint_copy.exists() else None


def _require_room(home: Home, contents: BackupContents) -> None:
    tops = {name.partition("/")[0] for name in contents.files} - {LEDGER}
    taken = [name for name in sorted(tops) if (home.root / name).exists()]
    if home.ledger.exists():
        taken.append("ledger")
    if taken:
        detail = f"{home.root} already has {', '.join(taken)}; restore into a new home (WEOS_HOME)"
        raise EngineError("home_not_empty", detail)


def _read_checkpoint(note: bytes, what: str) -> Checkpoint:
    try:
        return Checkpoint.of_note(parse_note(note))
    except ContractError as error:
        raise EngineError("checkpoint_unsound", f"{what} cannot be read ({error})") from error


def _require_not_behind(contents: BackupContents, note: bytes) -> None:
    ours = _read_checkpoint(contents.checkpoint.encode("utf-8"), "the backup's checkpoint")
    newest = _read_checkpoint(note, "the checkpoint to compare with")
    if newest.origin != ours.origin:
        detail = f"the backup is of {ours.origin}, and the checkpoint to compare with of {newest.origin}"
        raise EngineError("backup_behind", detail)
    if newest.size > ours.size:
        detail = (
            f"the backup has {ours.size} entries, and the newest checkpoint speaks of {newest.size}: the last "
            f"{newest.size - ours.size} entries are not in it. Look for a newer backup. To read what this one has, "
            "restore it into a new home without that checkpoint, and do not continue that ledger: who has seen the "
            "newer checkpoint would call it forked"
        )
        raise EngineError("backup_behind", detail)


def _verify(staged: Home, contents: BackupContents, trust: Trust | None, known: list[bytes]) -> int:
    """Verify the ledger as an auditor would; return the number of its entries."""
    database = staged.root / LEDGER
    _require_own_schema(database)
    try:
        trust = trust or Trust.parse((staged.root / TRUST).read_bytes())
        seen_before = [trust.model_copy(update={"checkpoint": note.decode("utf-8")}) for note in known]
        releases = read_documents(ReleaseStore(staged.root))
        with read_ledger(database) as reader:
            if reader.note != contents.checkpoint:
                raise EngineError("backup_unsound", "the ledger's checkpoint is not the one that the backup names")
            for seen in seen_before or [trust]:
                _require_valid(verify_log(export_lines(reader, releases), seen, allow_open=True))
            return reader.checkpoint.size
    except (ContractError, ValueError) as error:
        raise EngineError("backup_unsound", f"a document of the backup cannot be read: {error}") from error


def _require_valid(report: LogReport) -> None:
    if report.verdict != "VALID":
        failed = next(check for check in report.checks if check.code != "OK")
        what = f"{failed.code}: {failed.name}: {failed.message}"
        raise EngineError("backup_unsound", f"the ledger of the backup does not verify: {what}; nothing was restored")


def _require_own_schema(database: Path) -> None:
    """Refuse a file that is damaged, or has tables, views or triggers of somebody else."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    with _opened(database) as given, closing(sqlite3.connect(":memory:")) as ours:
        ours.executescript(SCHEMA)
        if given.execute(query).fetchall() != ours.execute(query).fetchall():
            raise EngineError("backup_unsound", "the ledger's tables are not those of this engine version")
        if given.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise EngineError("backup_unsound", "the ledger's database is damaged")


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
    except sqlite3.Error as error:
        raise EngineError("backup_unsound", f"the ledger's database cannot be read: {error}") from error


def _has_own_key(home: Home, staged: Home, contents: BackupContents) -> bool:
    own = next((each for each in (staged, home) if key_path(each.keys, LOG_KEY).exists()), None)
    if own is None:
        return False
    verifier = identify_log(load_signer(own.keys, LOG_KEY).key)
    if verifier.holds(parse_note(contents.checkpoint.encode("utf-8"))) is not True:
        detail = f"the key of the ledger in {own.keys} is not the one that signed the backup's checkpoint"
        raise EngineError("log_key_differs", detail)
    return True


def _move(staged: Home, home: Home, contents: BackupContents) -> None:
    for name in sorted({name.partition("/")[0] for name in contents.files} - {LEDGER}):
        part = staged.root / name
        if name != "keys":
            for path in (part, *part.rglob("*")):
                path.chmod(0o755 if path.is_dir() else PUBLIC)
        part.rename(home.root / name)
    home.ledger.parent.mkdir(mode=0o700, exist_ok=True)
    with (staged.root / LEDGER).open("rb") as database:
        os.fsync(database.fileno())
    (staged.root / LEDGER).rename(home.ledger)
    sync_directory(home.ledger.parent)
    write_private(home.checkpoint_copy, contents.checkpoint.encode("utf-8"))
