"""One release, as a person reads it."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contracts.releases.reports import ComparisonReport, Figures, ValidationReport
from supervisor.release.inspect import ReleaseFacts

__all__ = ["show_release"]


def _mark(verdict: str) -> str:
    return f"[{'green' if verdict == 'VALID' else 'bold red'}]{verdict}[/]"


def show_release(facts: ReleaseFacts) -> None:
    """Print everything known about a release."""
    console, manifest = Console(), facts.release.manifest
    summary = Table(show_header=False, title=f"engine version {manifest.engine_version}")
    before = manifest.predecessor
    rows = [
        ("manifest", facts.release.digest),
        ("created", manifest.created_at),
        ("source", f"{manifest.source.digest} ({len(manifest.source.files)} files, commit {manifest.source.commit})"),
        *((f"image {image.backend}", image.image) for image in manifest.images),
        ("llama.cpp", f"{manifest.llama_cpp.package} {manifest.llama_cpp.version}, {_commit(facts)}"),
        ("public key", manifest.public_key),
        ("predecessor", "none" if before is None else f"{before.engine_version} ({before.manifest})"),
        ("validation", _mark(facts.validation.verdict)),
        ("comparison", _mark(facts.comparison.verdict)),
        ("revoked", _revoked(facts)),
        ("this installation", _here(facts)),
    ]
    for name, value in rows:
        summary.add_row(name, value)
    console.print(summary, soft_wrap=True)
    if facts.validation.document is not None:
        _show_validation(console, facts.validation.document)
    if facts.comparison.document is not None:
        _show_comparison(console, facts.comparison.document)


def _commit(facts: ReleaseFacts) -> str:
    llama_cpp = facts.release.manifest.llama_cpp
    return f"commit {llama_cpp.commit}" if llama_cpp.commit else escape(llama_cpp.commit_reason)


def _revoked(facts: ReleaseFacts) -> str:
    if facts.revocation is None:
        return "no"
    return f"[bold red]from ledger index {facts.revocation.from_index} on[/]: {escape(facts.revocation.reason)}"


def _here(facts: ReleaseFacts) -> str:
    if not facts.drifts:
        return "[green]is this version[/]"
    lines = [f"{each.subject}: expected {each.expected}, found {each.found}" for each in facts.drifts]
    return "[yellow]differs[/]\n" + "\n".join(escape(line) for line in lines)


def _show_validation(console: Console, report: ValidationReport) -> None:
    table = Table("tried", "backend", "tier", "", "observed", title="validation")
    for each in report.conformance:
        mark = "[green]holds[/]" if each.holds else "[bold red]BROKEN[/]"
        table.add_row(each.name, each.backend, each.isolation, mark, escape(each.observed))
    for attacked in report.escape:
        mark = "[green]holds[/]" if attacked.as_expected == attacked.attempts else "[bold red]BROKEN[/]"
        observed = f"{attacked.as_expected} of {attacked.attempts} attacks had the expected result"
        table.add_row("escape suite", attacked.backend, attacked.isolation, mark, observed)
    for untried in report.untried:
        table.add_row("nothing", "", untried.isolation, "[yellow]not tried[/]", escape(untried.reason))
    console.print(table)


def _row(name: str, note: str, *values: float | None) -> tuple[str, ...]:
    return (name, note, *("-" if value is None else str(value) for value in values))


def _figures(name: str, note: str, figures: Figures) -> tuple[str, ...]:
    return _row(name, note, figures.tokens_per_sec, figures.latency_p95_ms, figures.watts_avg, figures.tokens_per_watt)


def _show_comparison(console: Console, report: ComparisonReport) -> None:
    table = Table(
        *("case", "backend", "tokens/s", "p95 ms", "W", "tokens/W"),
        title=f"{report.model.name} {report.model.quantization} on {escape(report.candidate.host.processor)}",
        caption="medians; watts are modelled from CPU time and a declared table, not measured",
    )
    before = report.predecessor
    compared = {} if before is None else {(each.case, each.backend): each for each in before.cases}
    for case in report.cases:
        table.add_row(*_figures(case.case, case.backend, case.median))
        found = compared.get((case.case, case.backend))
        if before is not None and found is not None:
            table.add_row(*_figures(f"  {before.engine_version}", "", found.predecessor))
            ratios = (
                found.tokens_per_sec_ratio,
                found.latency_p95_ratio,
                found.watts_avg_ratio,
                found.tokens_per_watt_ratio,
            )
            table.add_row(*_row("  ratio", "same text" if found.same_output else "another text", *ratios))
    console.print(table)
    if before is None:
        console.print(f"no ratios: {report.predecessor_reason}")
    for reason in () if before is None else before.incomparable:
        console.print(f"[yellow]no ratios[/]: {escape(reason)}")
