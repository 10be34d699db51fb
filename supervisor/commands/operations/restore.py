"""`weos-engine restore`: a home out of a backup."""

from pathlib import Path

import click

from supervisor.adapters.backup.restoring import restore
from supervisor.adapters.home import LOG_KEY, Home, default_home
from supervisor.adapters.identity.keys import key_path
from supervisor.commands.audit.files import read_bounded, read_trust

__all__ = ["command"]

MAX_NOTE_BYTES = 65_536


@click.command(name="restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--trust",
    "trust_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust file to verify the ledger with; without it the backup's own counts.",
)
@click.option(
    "--checkpoint",
    "checkpoint_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The newest checkpoint that you have, for example a witness's copy; a backup behind it is refused.",
)
def command(file: Path, trust_file: Path | None, checkpoint_file: Path | None) -> None:
    """Restore FILE, a backup, into this home, which must have no ledger; everything is verified first."""
    home = Home(default_home())
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    trust = None if trust_file is None else read_trust(trust_file)
    checkpoint = None if checkpoint_file is None else read_bounded(checkpoint_file, MAX_NOTE_BYTES)
    entries, has_key = restore(home, file, trust=trust, checkpoint=checkpoint)
    click.echo(f"{entries} entries were verified and restored into {home.root}")
    if not has_key:
        path = key_path(home.keys, LOG_KEY)
        click.echo(f"The ledger can be read but not continued: its key is not in this home (it belongs at {path}).")
