"""`weos-engine verify`: one line per check, and a verdict; needs nothing but the contracts."""

import json
import os
import sys
from pathlib import Path

import click

from contracts.base import ContractError
from contracts.envelope import Envelope
from contracts.trust import Trust
from contracts.verify import CHECKS, VerificationReport, output_matches, verify_record

__all__ = ["command", "show_report"]


def _default_trust() -> Path:
    data_home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(os.environ.get("WEOS_HOME") or Path(data_home) / "weos").absolute() / "trust.json"


def _read_trust(path: Path) -> Trust:
    try:
        return Trust.parse(path.read_bytes())
    except FileNotFoundError as error:
        message = f"there is no trust file {path}; name one with --trust (it holds the public keys that you trust)"
        raise click.ClickException(message) from error
    except ContractError as error:
        message = f"{path} is not a trust file: {error}"
        raise click.ClickException(message) from error


def show_report(report: VerificationReport) -> None:
    """Print one line per check and the verdict."""
    for check in report.checks:
        mark = click.style("ok  ", fg="green") if check.code == "OK" else click.style("FAIL", fg="red")
        code = "" if check.code == "OK" else f" [{check.code}]"
        click.echo(f"  {mark} {check.name:<16} {check.message}{code}")
    for name in CHECKS[len(report.checks) :]:
        click.echo(f"  -    {name:<16} not reached")
    colour = "green" if report.verdict == "VALID" else "red"
    click.echo(click.style(report.verdict, fg=colour, bold=True))


@click.command(name="verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="Trust file; default: the home's own.")
@click.option("--output", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Text to compare.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(file: Path, trust_file: Path | None, output: Path | None, as_json: bool) -> None:
    """Verify the signed record in FILE, offline. Exit status 0 only for VALID."""
    trust = _read_trust(trust_file or _default_trust())
    with file.open("rb") as reader:
        # One byte past the limit is enough to refuse it.
        report = verify_record(reader.read(Envelope.MAX_BYTES + 1), trust)
    if as_json:
        checks = [{"check": check.name, "code": check.code, "message": check.message} for check in report.checks]
        click.echo(json.dumps({"verdict": report.verdict, "checks": checks}, indent=1))
    else:
        show_report(report)
    if report.verdict != "VALID":
        sys.exit(1)
    if output is not None and (report.record is None or not output_matches(report.record, output.read_bytes())):
        click.echo("OUTPUT_MISMATCH: the text is not the one that this record is about", err=True)
        sys.exit(1)
