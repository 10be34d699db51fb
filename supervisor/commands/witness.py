"""`weos-engine audit witness`: countersign checkpoints of ledgers that only grew, and refuse all others."""

import sys
import time
from pathlib import Path

import click

from supervisor.adapters.ledger.witness import Witness
from supervisor.commands.audit.consistency import FILE, URL_HELP, read_evidence, read_note
from supervisor.commands.audit.files import TRUST_OPTION, read_trust
from supervisor.commands.audit.view import describe_checks, show_checks, show_json, show_verdict
from supervisor.place import data_home

__all__ = ["command"]


def _default_directory() -> Path:
    return data_home() / "weos-witness"


_DIRECTORY = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="WEOS_WITNESS_DIR",
    default=_default_directory,
    help="Directory of this witness's key and of the checkpoints it saw; or WEOS_WITNESS_DIR.",
)


@click.group(name="witness")
def command() -> None:
    """Remember the last checkpoint of each ledger, and countersign only one that extends it."""


@command.command(name="init")
@click.option("--name", required=True, help="Name of the witness's key, such as witness.example/weos.")
@_DIRECTORY
def init(name: str, directory: Path) -> None:
    """Create the witness's key and print its line for the `witnesses` of trust files."""
    click.echo(Witness(directory).create(name).encode())


@command.command(name="key")
@_DIRECTORY
def show_key(directory: Path) -> None:
    """Print the witness's line for the `witnesses` of trust files."""
    click.echo(Witness(directory).verifier().encode())


@command.command(name="sign")
@click.argument("checkpoint", type=FILE)
@TRUST_OPTION
@_DIRECTORY
@click.option("--proof", type=FILE, help="The JSON of GET /v1/ledger/consistency from the last checkpoint seen.")
@click.option("--export", type=FILE, help="An export of the ledger; both roots are computed from its leaves.")
@click.option("--url", help=URL_HELP)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File for the signed checkpoint."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def sign(
    checkpoint: Path,
    trust_file: Path,
    directory: Path,
    proof: Path | None,
    export: Path | None,
    url: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Countersign CHECKPOINT if it extends the last one seen of its ledger, and remember it.

    Exit status 0 only if it was signed. Two checkpoints that contradict each other are kept as evidence.
    """
    witness, note, trust = Witness(directory), read_note(checkpoint), read_trust(trust_file)
    seen = witness.last_seen(note)
    evidence = None
    if seen is not None:
        evidence = read_evidence(seen, note, proof=proof, export=export, url=url)
    result = witness.countersign(note, trust, evidence, at_s=int(time.time()))
    verdict = next((check.code for check in result.checks if check.code != "OK"), "VALID")
    kept = None if result.evidence is None else str(result.evidence)
    if result.note is not None:
        output.write_text(result.note, encoding="utf-8")
    if as_json:
        show_json({"verdict": verdict, "checks": describe_checks(result.checks), "evidence": kept})
    else:
        show_checks(result.checks)
        if kept is not None:
            click.echo(f"  both checkpoints are kept in {kept}")
        show_verdict(verdict)
    if result.note is None:
        sys.exit(1)
