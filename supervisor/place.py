"""Where an installation lies if nobody names another place; needs nothing but the standard library.

`supervisor.bootstrap` runs before anything is installed and has the same lines; a test holds the two equal.
"""

import os
from pathlib import Path

__all__ = ["data_home", "default_home"]


def data_home() -> Path:
    """Return the user's data directory, as the XDG Base Directory Specification defines it."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def default_home() -> Path:
    """Return `WEOS_HOME`, or the installation's directory in the user's data directory."""
    return Path(os.environ.get("WEOS_HOME") or data_home() / "weos").absolute()
