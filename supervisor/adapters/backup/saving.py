"""Make a backup of a home, also while its supervisor runs."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from supervisor.adapters.backup.archive import LEDGER, TRUST, write_archive
from supervisor.adapters.files import replaced
from supervisor.adapters.home import Home
from supervisor.adapters.ledger.reader import read_ledger
from supervisor.domain.errors import EngineError

__all__ = ["back_up"]


def back_up(home: Home, target: Path, *, with_keys: bool) -> int:
    """Write a backup, readable by its owner only; return the number of the ledger's entries in it.

    Args:
        home: the installation; its supervisor may be running.
        target: the file to replace or to create.
        with_keys: take the private keys too, and the passphrase that lies beside them.

    Raises:
        EngineError: ``ledger_missing``, ``ledger_unsound``, or ``trust_missing``.
    """
    if not home.trust_file.is_file():
        raise EngineError(
            "trust_missing", f"there is no {home.trust_file}, without which the ledger cannot be verified"
        )
    # Beside the target, where there must be room for the ledger anyway.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".weos-backup-") as scratch, replaced(target) as beside:
        copy = Path(scratch) / LEDGER
        _copy_database(home.ledger, copy)
        with read_ledger(copy) as reader:
            checkpoint, entries = reader.note, reader.checkpoint.size
        folders = ("releases", "root", *(("keys",) if with_keys else ()))
        write_archive(beside, {LEDGER: copy, TRUST: home.trust_file} | _files_of(home.root, folders), checkpoint)
    return entries


def _copy_database(source: Path, target: Path) -> None:
    with read_ledger(source):
        pass
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as running,
            closing(sqlite3.connect(target)) as copy,
        ):
            # In one step: what is written meanwhile waits for the next backup.
            running.backup(copy)
            # One file holds everything.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise EngineError("ledger_unsound", f"the ledger {source} cannot be copied: {error}") from error


def _files_of(root: Path, folders: tuple[str, ...]) -> dict[str, Path]:
    found = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path for path in found if not path.name.startswith(".")}
