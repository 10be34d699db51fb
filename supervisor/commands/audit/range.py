"""`weos-engine audit range`: verify that every execution accepted between two ledger sizes has its final record."""

import sys
from pathlib import Path

import click

from contracts.ledger.range_proof import RangeProof
from contracts.verify.range import RANGE_CHECKS, verify_range
from supervisor.commands.audit.consistency import FILE, read_note
from supervisor.commands.audit.export_file import read_lines
from supervisor.commands.audit.files import TRUST_OPTION, read_trust
from supervisor.commands.audit.view import describe_checks, show_checks, show_json, show_not_proven, show_verdict

__all__ = ["command"]

NOT_PROVEN = ("that the final records are valid: verify the ledger's export, or their bundles",)


@click.command(name="range")
@click.argument("file", type=FILE)
@TRUST_OPTION
@click.option("--seen", type=FILE, multiple=True, help="A checkpoint that you obtained earlier; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(file: Path, trust_file: Path, seen: tuple[Path, ...], as_json: bool) -> None:
    """Verify the range proofs in FILE, one a line, offline. Exit status 0 only for VALID."""
    pages = (line.removesuffix(b"\n") for line in read_lines(file, RangeProof.MAX_BYTES))
    verified = verify_range(pages, read_trust(trust_file), map(read_note, seen))
    if as_json:
        summary = verified.document
        shown = None if summary is None else {"from": summary.first, "to": summary.second, "newest": summary.newest}
        show_json({"verdict": verified.verdict, "checks": describe_checks(verified.checks), "range": shown})
    else:
        show_checks(verified.checks, RANGE_CHECKS)
        show_not_proven(NOT_PROVEN)
        show_verdict(verified.verdict)
    if verified.verdict != "VALID":
        sys.exit(1)
