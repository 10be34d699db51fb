"""The files that an auditor names: the trust file, and others whose size nobody has checked."""

from pathlib import Path

import click

from contracts.verify.trust import Trust
from contracts.wire.errors import ContractError

__all__ = ["TRUST_OPTION", "read_bounded", "read_trust"]

TRUST_OPTION = click.option(
    "--trust",
    "trust_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust file: root keys or keys, ledgers, witnesses, and the last checkpoint that you saw.",
)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return a file, or enough of it to show that it is larger than ``max_bytes``."""
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


def read_trust(path: Path) -> Trust:
    """Return a trust file.

    Raises:
        click.ClickException: the file does not exist, or is not a trust file.
    """
    try:
        return Trust.parse(read_bounded(path, Trust.MAX_BYTES))
    except FileNotFoundError as error:
        message = f"there is no trust file {path}; name one with --trust (it holds the public keys that you trust)"
        raise click.ClickException(message) from error
    except ContractError as error:
        message = f"{path} is not a trust file: {error}"
        raise click.ClickException(message) from error
