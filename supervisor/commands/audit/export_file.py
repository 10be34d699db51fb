"""Lines of files that may be as long as their maker liked."""

from collections.abc import Iterator
from pathlib import Path

from contracts.ledger.bundle import LedgerEntryView
from contracts.ledger.export import ExportHeader

__all__ = ["read_export", "read_lines"]


def read_lines(path: Path, *sizes: int) -> Iterator[bytes]:
    """Give the lines of a file, each with its newline, or as much of one as shows that it is too large.

    Args:
        path: the file.
        sizes: bytes of the first line at most, of the second, and so on; the last counts for all that follow.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(sizes[min(number, len(sizes) - 1)] + 2):
            yield line
            number += 1


def read_export(path: Path) -> Iterator[bytes]:
    """Give the lines of an export of a ledger."""
    return read_lines(path, ExportHeader.MAX_BYTES, LedgerEntryView.MAX_BYTES)
