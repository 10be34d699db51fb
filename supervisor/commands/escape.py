"""`weos-engine doctor --escape`: the escape suite on every sandbox of this installation, as a table."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import get_args

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contracts.execution.escape_report import EscapeAttempt, EscapeReport
from contracts.execution.execution_plan import ExecutionPlan
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.identity.engine_identity import load_identity
from supervisor.adapters.installation.backends import default_source_root
from supervisor.adapters.installation.escape_reports import EscapeReports
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.adapters.installation.reader import InstallationReader
from supervisor.adapters.kernel.host import host_root, read_host_facts
from supervisor.adapters.policies import load_policies
from supervisor.console.steps import ConsoleProgress
from supervisor.domain.errors import EngineError, Refusal
from supervisor.domain.planning.installation import Installation
from supervisor.escape.catalogue import Planned, plan_attempts
from supervisor.escape.suite import run_suite
from supervisor.escape.target import open_target, plan_of_target, runnable_backends
from supervisor.power.meters import read_power_facts
from supervisor.setup.host.container_engine import find_container_engine

__all__ = ["read_installation", "run_escape"]

STYLES = {"blocked": "green", "open": "yellow", "allowed": "bold red", "unexpected": "bold red"}
WORDS = {"blocked": "blocked", "open": "open", "allowed": "ALLOWED", "unexpected": "UNEXPECTED"}
# Refusals for which a tier that nobody asked for is skipped.
NOT_THERE = {"isolation_required", "isolation_unavailable"}
WIDE_CHARACTERS = 160
MOMENTS = {"lock_one": "one", "lock_two": "two"}


def read_installation(home: Home) -> Installation:
    """Return the installation as the supervisor sees it."""
    root = default_source_root()
    policies = load_policies(root / "policies")
    identity = load_identity(home, root, policies.digests)
    return InstallationReader(
        home.root,
        root,
        engine_version=identity.engine_version,
        images=identity.images,
        models=ModelStore(home.models),
        policies=policies,
        host=read_host_facts(),
        power=partial(read_power_facts, home.calibration, policies.power, root=host_root()),
    ).read()


def _try_sandbox(
    home: Home, docker_host: str, plan: ExecutionPlan, installation: Installation, planned: Sequence[Planned]
) -> EscapeReport:
    """Run the suite on one sandbox and keep its report."""
    title = f"Trying to escape from {plan.backend} in the tier {plan.isolation}"
    reason = f"{len(planned)} attacks in real containers of {plan.runtime_image[:19]}"
    with open_target(home, docker_host, plan, installation) as target, ConsoleProgress().step(title, reason) as step:
        report = run_suite(target.cells, target.image_environment, target.facts, planned, step.update)
    EscapeReports(home.escape).store(report)
    return report


def _show_report(report: EscapeReport, seconds: float, path: str) -> None:
    """Print every attack and its result, group by group."""
    console = Console()
    if not console.is_terminal:
        # A file has no width of its own, and lines in it must not be wrapped.
        console = Console(width=WIDE_CHARACTERS)
    title = f"{report.backend} {report.isolation}"
    table = Table("", "attack", "lock", "expected", "observed", title=title, box=box.SIMPLE_HEAD)
    group = None
    for attempt in report.attempts:
        if attempt.group != group:
            table.add_section()
            table.add_row("", f"[bold]{escape(attempt.group)}[/]")
            group = attempt.group
        table.add_row(*_cells(attempt))
    console.print(table)
    for attempt in report.attempts:
        if attempt.verdict == "open":
            console.print(f"[yellow]open[/] {escape(attempt.name)}: {escape(attempt.note or '')}", soft_wrap=True)
    counts = {verdict: sum(each.verdict == verdict for each in report.attempts) for verdict in WORDS}
    console.print(
        f"{len(report.attempts)} attacks in {seconds:.0f} s: {counts['blocked']} blocked, {counts['open']} open and "
        f"known, {counts['allowed']} allowed, {counts['unexpected']} unexpected\n"
        f"Of {report.calls_walked} system calls {len(report.calls_before)} pass lock one and {len(report.calls_after)} "
        f"pass lock two\n{report.runtime}, {report.container_engine}, kernel {report.kernel}\n"
        f"{report.canonical_digest()} is {path}",
        soft_wrap=True,
        highlight=False,
    )


def _cells(attempt: EscapeAttempt) -> tuple[str, ...]:
    mark = f"[{STYLES[attempt.verdict]}]{WORDS[attempt.verdict]}[/]"
    expected = " or ".join(attempt.expected)
    return mark, escape(attempt.name), MOMENTS[attempt.moment], escape(expected), escape(attempt.observed)


def run_escape(
    home: Home,
    installation: Installation,
    asked: Sequence[IsolationTier],
    *,
    as_json: bool,
    plan: Callable[[IsolationTier], Sequence[Planned]] = plan_attempts,
) -> int:
    """Attack every sandbox, or those of the tiers that are asked for; return the exit status.

    Args:
        home: keeps the reports.
        installation: is attacked.
        asked: tiers that must be attacked; empty means every installed one.
        as_json: print reports instead of tables.
        plan: returns the attacks of a tier.

    Raises:
        EngineError: ``engine_unavailable``, or ``escape_failed`` where no sandbox could be attacked.
        Refusal: a tier that was asked for is not installed, or the policies do not allow it.
    """
    docker_host = find_container_engine()
    if docker_host is None:
        raise EngineError("engine_unavailable", "no container engine answers; run: make setup")
    reports = []
    for backend in runnable_backends(installation):
        for isolation in asked or get_args(IsolationTier):
            started_s = time.monotonic()
            try:
                target = plan_of_target(installation, backend.name, isolation)
                report = _try_sandbox(home, docker_host, target, installation, plan(isolation))
            except Refusal as refusal:
                if asked or refusal.code not in NOT_THERE:
                    raise
                click.echo(f"{backend.name} {isolation}: not tried: {refusal}", err=True)
                continue
            reports.append(report)
            if as_json:
                click.echo(report.canonical())
            else:
                path = EscapeReports(home.escape).path(isolation, backend.name)
                _show_report(report, time.monotonic() - started_s, str(path))
    if not reports:
        raise EngineError("escape_failed", "no sandbox was tried; the reasons are above")
    return 1 if any(report.failures for report in reports) else 0
