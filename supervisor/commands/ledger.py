"""`weos-engine ledger`: export the ledger to one file, import one into an empty home, prove ranges of it."""

import sys
from pathlib import Path

import click

from supervisor.adapters.files import replaced
from supervisor.adapters.home import LOG_KEY, Home, default_home
from supervisor.adapters.identity.keys import key_path
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.ledger.export import export_lines, read_documents
from supervisor.adapters.ledger.importing import import_ledger
from supervisor.adapters.ledger.reader import read_ledger
from supervisor.commands.audit.export_file import read_export
from supervisor.commands.audit.files import TRUST_OPTION, read_trust
from supervisor.console.bar import show_progress

__all__ = ["command"]


@click.group(name="ledger")
def command() -> None:
    """Export, import and prove the ledger of this home; the supervisor may be running."""


@command.command(name="export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(file: Path) -> None:
    """Write the whole ledger, up to its last checkpoint, to FILE."""
    home = Home(default_home())
    releases = read_documents(ReleaseStore(home.root))
    with read_ledger(home.ledger) as reader, replaced(file, mode=None) as beside, beside.open("wb") as written:
        size = reader.checkpoint.size
        with show_progress("exporting entries", size) as bar:
            for line in export_lines(reader, releases):
                written.write(line)
                bar.step()
    click.echo(f"{size} entries of {reader.checkpoint.origin} are in {file}")


@command.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@TRUST_OPTION
def import_file(file: Path, trust_file: Path) -> None:
    """Import FILE, an export, into this home, which must have no ledger yet; only a VALID export is imported."""
    home = Home(default_home())
    with show_progress("importing entries") as bar:

        def step(entries: int) -> None:
            bar.total = entries
            bar.step()

        report, has_key = import_ledger(home, read_export(file), read_trust(trust_file), step)
    click.echo(f"{report.summary.entries} entries were verified and imported into {home.root}")
    if not has_key:
        path = key_path(home.keys, LOG_KEY)
        click.echo(f"The ledger can be read but not continued: its key is not in this home (it belongs at {path}).")


@command.command(name="checkpoint")
def checkpoint() -> None:
    """Print the ledger's last signed checkpoint."""
    with read_ledger(Home(default_home()).ledger) as reader:
        sys.stdout.write(reader.note)


@command.command(name="range")
@click.argument("first", metavar="FROM", type=click.IntRange(min=0))
@click.argument("second", metavar="TO", type=click.IntRange(min=1))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def prove_range(first: int, second: int, file: Path) -> None:
    """Write to FILE the proof that every execution accepted between FROM and TO entries has its final record."""
    with (
        read_ledger(Home(default_home()).ledger) as reader,
        replaced(file, mode=None) as beside,
        beside.open("wb") as written,
    ):
        proofs = 0
        for proof in reader.range_proofs(first, second):
            written.write(proof.canonical() + b"\n")
            proofs += 1
    click.echo(f"{proofs} range proofs from {first} to {second} are in {file}")
