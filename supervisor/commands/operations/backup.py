"""`weos-engine backup`: one file with the ledger and what verifies it."""

from pathlib import Path

import click

from supervisor.adapters.backup.saving import back_up
from supervisor.adapters.home import Home, default_home

__all__ = ["command"]


@click.command(name="backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--keys", "with_keys", is_flag=True, help="Take the private keys too. Keep such a file like a key.")
def command(file: Path, with_keys: bool) -> None:
    """Write ledger, texts, trust file and releases of this home to FILE; the supervisor may be running."""
    entries = back_up(Home(default_home()), file, with_keys=with_keys)
    click.echo(f"{entries} entries are in {file}, {'with' if with_keys else 'without'} the private keys")
