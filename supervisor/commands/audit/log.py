"""`weos-engine audit log`: verify the export of a whole ledger."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from contracts.verify.log import LogVerifier
from contracts.verify.log_report import LOG_CHECKS, LogReport, LogSummary
from supervisor.commands.audit.export_file import read_export
from supervisor.commands.audit.files import TRUST_OPTION, read_trust
from supervisor.commands.audit.view import (
    describe_checks,
    printable,
    show_checks,
    show_json,
    show_not_proven,
    show_verdict,
)
from supervisor.console.bar import show_progress

__all__ = ["command"]

NOT_PROVEN = (
    "that the statements are true: a signature says who made them",
    "that others were shown the same ledger, unless a witness that you trust has signed the checkpoint",
)


def verify_export(file: Path, verifier: LogVerifier) -> LogReport:
    """Verify the lines of a file, and show a bar."""
    lines = read_export(file)
    reader = verifier.begin(next(lines, b""))
    if reader is not None and verifier.header is not None:
        with show_progress("verifying entries", verifier.header.entries) as bar:
            for line in lines:
                verifier.add(reader.read(line))
                bar.step()
                if verifier.is_over:
                    break
    return verifier.finish()


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {printable(name)}" for name, number in sorted(counts.items())) or "none"


def _show_summary(summary: LogSummary) -> None:
    rows = {
        "entries": str(summary.entries),
        "executions": f"{summary.executions} ({summary.open} without a result)",
        "outcomes": _counted(summary.outcomes),
        "statements by": _counted(summary.versions),
        "from": summary.first_at or "-",
        "to": summary.last_at or "-",
    }
    for name, value in rows.items():
        click.echo(f"  {name:<14} {value}")


def _show_findings(report: LogReport) -> None:
    for finding in report.findings:
        where = f"line {finding.line}: " if finding.line is not None else ""
        click.echo(f"  {click.style(finding.code, fg='red')} {where}{printable(finding.message)}")


def _describe(report: LogReport) -> dict[str, object]:
    summary = report.summary
    return {
        "verdict": report.verdict,
        "checks": describe_checks(report.checks),
        "findings": [
            {"check": each.check, "code": each.code, "line": each.line, "message": each.message}
            for each in report.findings
        ],
        "summary": {
            "entries": summary.entries,
            "executions": summary.executions,
            "without_result": summary.open,
            "outcomes": dict(sorted(summary.outcomes.items())),
            "statements": dict(sorted(summary.versions.items())),
            "first_at": summary.first_at,
            "last_at": summary.last_at,
        },
        "not_proven": list(NOT_PROVEN),
    }


@click.command(name="log")
@click.argument("export", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@TRUST_OPTION
@click.option(
    "--allow-open",
    is_flag=True,
    help="Accept executions without a result where the export lists them as running; a later export must show them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(export: Path, trust_file: Path, allow_open: bool, as_json: bool) -> None:
    """Verify EXPORT, a whole ledger in one file, offline. Exit status 0 only for VALID."""
    report = verify_export(export, LogVerifier(read_trust(trust_file), allow_open=allow_open))
    if as_json:
        show_json(_describe(report))
    else:
        show_checks(report.checks, LOG_CHECKS)
        _show_findings(report)
        _show_summary(report.summary)
        show_not_proven(NOT_PROVEN)
        show_verdict(report.verdict)
    if report.verdict != "VALID":
        sys.exit(1)
