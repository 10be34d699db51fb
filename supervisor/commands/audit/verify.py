"""`weos-engine audit verify`: one line per check and a verdict per bundle."""

import json
import math
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import click

from contracts.ledger.bundle import Bundle
from contracts.verify.bundle import BUNDLE_CHECKS, BundleReport, SeenBundles, verify_bundle
from contracts.verify.checks import Check
from contracts.verify.record import output_matches
from contracts.verify.trust import Trust
from contracts.wire.envelope import Envelope
from supervisor.commands.audit.files import TRUST_OPTION, read_bounded, read_trust
from supervisor.commands.audit.view import describe_checks, printable, show_checks, show_not_proven, show_verdict
from supervisor.console.bar import QUIET_S, show_progress

__all__ = ["command"]

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class _Question:
    trust: Trust
    nonce: str | None
    output: Path | None
    revocations: tuple[bytes, ...]


def _check_output(report: BundleReport, output: Path) -> Check:
    record = report.record
    # One byte more than the recorded size is enough to refuse a text.
    size_bytes = 0 if record is None or record.output is None else record.output.size_bytes
    if record is not None and output_matches(record, read_bounded(output, size_bytes)):
        return Check("output", "OK", f"the text has the record's digest, {size_bytes} bytes")
    return Check("output", "OUTPUT_MISMATCH", "the text is not the output of this record")


def _judge(path: Path, question: _Question, seen: SeenBundles, *, several: bool) -> BundleReport:
    data = read_bounded(path, Bundle.MAX_BYTES)
    report = verify_bundle(data, question.trust, nonce=question.nonce, revocations=question.revocations)
    if report.verdict == "VALID" and question.output is not None:
        report = replace(report, checks=(*report.checks, _check_output(report, question.output)))
    if report.verdict == "VALID" and several:
        report = replace(report, checks=(*report.checks, seen.add(report)))
    return report


def _describe(path: Path, report: BundleReport) -> dict[str, object]:
    described: dict[str, object] = {"file": str(path), "verdict": report.verdict}
    record, place = report.record, report.place
    if record is not None:
        described |= {"execution_id": record.execution_id, "engine_version": record.engine_version, "seq": record.seq}
    if place is not None:
        checkpoint = place.checkpoint
        described["ledger"] = {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "started_index": place.positions[0],
            "final_index": place.positions[1],
            "witnesses": [{"name": each.name, "at_s": each.at_s} for each in place.witnesses],
        }
    return described | {"checks": describe_checks(report.checks), "not_proven": list(report.not_proven)}


def _show_full(path: Path, report: BundleReport, number: int, total: int) -> None:
    click.echo(
        click.style(f"{printable(str(path))} ({number}/{total})" if total > 1 else printable(str(path)), bold=True)
    )
    show_checks(report.checks, BUNDLE_CHECKS)
    show_not_proven(report.not_proven)
    show_verdict(report.verdict)


def _show_brief(path: Path, report: BundleReport) -> None:
    last = report.checks[-1]
    why = "" if report.verdict == "VALID" else f"  {last.name}: {printable(last.message)}"
    verdict = click.style(f"{report.verdict:<20}", fg="green" if report.verdict == "VALID" else "red")
    click.echo(f"{verdict} {printable(str(path))}{why}")


def _show_summary(counted: Counter[str]) -> None:
    click.echo(click.style(f"\n{'verdict':<20} bundles", bold=True))
    for verdict, count in sorted(counted.items(), key=lambda item: (item[0] != "VALID", item[0])):
        click.echo(f"{verdict:<20} {count:>7}")


def _judge_all(bundles: tuple[Path, ...], question: _Question, *, brief: bool, as_json: bool) -> Counter[str]:
    # Each report is shown and dropped, so thousands of bundles need no more memory than a few.
    counted: Counter[str] = Counter()
    seen, total = SeenBundles(), len(bundles)
    if as_json:
        click.echo('{"bundles": [')
    # On a terminal the reports show the progress; a bar among them would be torn apart.
    quiet_s = math.inf if sys.stdout.isatty() else QUIET_S
    with show_progress("verifying bundles", total, quiet_s) as bar:
        for number, path in enumerate(bundles, 1):
            report = _judge(path, question, seen, several=total > 1)
            counted[report.verdict] += 1
            if as_json:
                click.echo(json.dumps(_describe(path, report)) + ("," if number < total else ""))
            elif brief:
                _show_brief(path, report)
            else:
                _show_full(path, report, number, total)
            bar.step()
    if as_json:
        click.echo(f'],\n"verdicts": {json.dumps(dict(sorted(counted.items())))}}}')
    elif total > 1:
        _show_summary(counted)
    return counted


@click.command(name="verify")
@click.argument("bundles", nargs=-1, required=True, type=FILE)
@TRUST_OPTION
@click.option("--output", type=FILE, help="Text to compare with the record's output; for one bundle.")
@click.option("--nonce", help="The nonce of your request, which the record must contain.")
@click.option(
    "--revocation", "revocations", multiple=True, type=FILE, help="A revocation that you have; may be repeated."
)
@click.option("--brief", is_flag=True, help="One line per bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
def command(
    bundles: tuple[Path, ...],
    trust_file: Path,
    output: Path | None,
    nonce: str | None,
    revocations: tuple[Path, ...],
    brief: bool,
    as_json: bool,
) -> None:
    """Verify BUNDLES offline. Exit status 0 only where all are VALID."""
    if output is not None and len(bundles) > 1:
        message = "--output needs exactly one bundle"
        raise click.UsageError(message)
    trust = read_trust(trust_file)
    if revocations and trust.root is None:
        message = (
            "--revocation needs a root key: the root signs revocations, and the trust file names no root; add the root "
            "keyring that you trust to it, as `root`"
        )
        raise click.UsageError(message)
    known = tuple(read_bounded(path, Envelope.MAX_BYTES) for path in revocations)
    question = _Question(trust, nonce, output, known)
    counted = _judge_all(bundles, question, brief=brief, as_json=as_json)
    if set(counted) != {"VALID"}:
        sys.exit(1)
