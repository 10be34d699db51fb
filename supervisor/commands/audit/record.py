"""`weos-engine audit record`: verify one signed record; one line per check, and a verdict."""

import re
import sys
from pathlib import Path

import click

from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.record import CHECKS, output_matches
from contracts.verify.speaker import ReleaseEvidence, claimed_version, verify_released_record
from contracts.wire.envelope import Envelope
from supervisor.commands.audit.files import read_bounded, read_trust
from supervisor.commands.audit.view import describe_checks, show_checks, show_json, show_verdict
from supervisor.place import default_home

__all__ = ["command"]

# Versions that may name a directory of the home.
RELEASED = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){2}")


def _read_evidence(version: str | None, manifest: Path | None) -> ReleaseEvidence:
    """Return the home's evidence about a released version; a manifest given by name replaces the home's."""
    if version is None or not RELEASED.fullmatch(version):
        return ReleaseEvidence()
    release = default_home() / "releases" / version
    known = manifest or release / "manifest.json"
    revocation = release / "revocation.json"
    keyrings = sorted((default_home() / "root").glob("*.json"), key=lambda path: (len(path.name), path.name))
    return ReleaseEvidence(
        manifest=read_bounded(known, Envelope.MAX_BYTES) if known.is_file() else None,
        keyrings=tuple(path.read_bytes() for path in keyrings),
        revocations=(revocation.read_bytes(),) if revocation.is_file() else (),
    )


def _is_output(record: MetricsRecord | None, output: Path) -> bool:
    # One byte more than the recorded size is enough to refuse a text.
    if record is None or record.output is None:
        return False
    return output_matches(record, read_bounded(output, record.output.size_bytes))


@click.command(name="record")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="Trust file; default: that of the home.")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Engine manifest of a released version; default: that of the home.",
)
@click.option(
    "--output",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text to compare with the record's output.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(file: Path, trust_file: Path | None, manifest: Path | None, output: Path | None, as_json: bool) -> None:
    """Verify the signed record in FILE, offline. Exit status 0 only for VALID."""
    trust = read_trust(trust_file or default_home() / "trust.json")
    data = read_bounded(file, Envelope.MAX_BYTES)
    report = verify_released_record(data, trust, _read_evidence(claimed_version(data), manifest))
    if as_json:
        show_json({"verdict": report.verdict, "checks": describe_checks(report.checks)})
    else:
        show_checks(report.checks, CHECKS)
        show_verdict(report.verdict)
    if report.verdict != "VALID":
        sys.exit(1)
    if output is not None and not _is_output(report.record, output):
        click.echo("OUTPUT_MISMATCH: the text is not the output of this record", err=True)
        sys.exit(1)
