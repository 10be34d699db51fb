"""Where the tests find the files of the repository."""

from pathlib import Path

__all__ = ["REPOSITORY"]

REPOSITORY = Path(__file__).resolve().parent.parent
