"""The copy of the last checkpoint outside the database: what tells a restored backup from the log it was taken of."""

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from contracts.ledger.note import Verifier, parse_note
from contracts.ledger.proof import Checkpoint
from contracts.wire.errors import ContractError
from supervisor.adapters.files import write_private

__all__ = ["CheckpointFile"]

_log = logging.getLogger(__name__)

# Writing and syncing a file takes as long as a commit; behind the last second a backup would have to be very young.
INTERVAL_S = 1.0


class CheckpointFile:
    """One file with the newest checkpoint, at most `INTERVAL_S` behind while the log is written."""

    def __init__(self, path: Path, verifier: Verifier) -> None:
        self._path = path
        self._verifier = verifier
        self._written_s = 0.0

    def write(self, note: str) -> None:
        """Replace the file, durably."""
        write_private(self._path, note.encode("utf-8"))
        self._written_s = time.monotonic()

    def write_soon(self, note: str) -> None:
        """Replace the file unless that has just been done; `write` at the end makes up for it.

        The entries are durable already, so a disk that has no room for the copy fails nothing.
        """
        if time.monotonic() - self._written_s < INTERVAL_S:
            return
        try:
            self.write(note)
        except OSError as error:
            _log.warning("the copy of the checkpoint cannot be written: %s", error.strerror)

    def require_not_ahead(self, size: int, root_at: Callable[[int], bytes]) -> None:
        """Make sure that the log still holds everything that the copy speaks of.

        Args:
            size: the log's number of leaves.
            root_at: gives the root over its first leaves.

        Raises:
            sqlite3.DatabaseError: the copy is ahead, or of another log.
        """
        if not self._path.exists():
            return
        try:
            note = parse_note(self._path.read_bytes())
            seen = Checkpoint.of_note(note)
        except ContractError as error:
            message = f"{self._path}, the copy of its last checkpoint, cannot be read ({error})"
            raise sqlite3.DatabaseError(message) from error
        if self._verifier.holds(note) is not True or seen.origin != self._verifier.name:
            message = f"{self._path} is a checkpoint of another log"
            raise sqlite3.DatabaseError(message)
        if seen.size > size:
            message = f"it has {size} entries, and {self._path} speaks of {seen.size}: it is an older copy of itself"
            raise sqlite3.DatabaseError(message)
        if root_at(seen.size) != seen.root:
            message = f"its first {seen.size} entries are not those that {self._path} speaks of"
            raise sqlite3.DatabaseError(message)
