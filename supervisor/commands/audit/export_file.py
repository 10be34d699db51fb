"""Lines of files whose size nobody has checked."""

from collections.abc import Iterator
from pathlib import Path

from contracts.ledger.bundle import LedgerEntryView
from contracts.ledger.export import ExportHeader

__all__ = ["read_export", "read_lines"]


def read_lines(path: Path, *sizes: int) -> Iterator[bytes]:
    """Yield the lines of a file, each with its newline, or enough of a line to show that it is too large.

    Args:
        path: the file.
        sizes: maximum bytes of the first line, of the second, and so on; the last one holds for all that follow.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(sizes[min(number, len(sizes) - 1)] + 2):
            yield line
            number += 1


def read_export(path: Path) -> Iterator[bytes]:
    """Yield the lines of an export of a ledger."""
    return read_lines(path, ExportHeader.MAX_BYTES, LedgerEntryView.MAX_BYTES)
