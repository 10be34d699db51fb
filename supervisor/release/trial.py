"""The trial that a version must pass before it is released: conformance, escape suite, workload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, get_args

from contracts.api.responses import VersionView
from contracts.execution.escape_report import EscapeReport
from contracts.releases.reports import CaseFigures, ComparedModel, ConformanceResult, UntriedTier
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import EngineError
from supervisor.release.candidate import RunningCandidate, serving_candidate
from supervisor.release.conformance import PROPERTIES, TIER_PROPERTIES, Property, try_properties
from supervisor.release.subject import Broken
from supervisor.release.workload import Workload, run_workload

__all__ = ["EscapeSuite", "Trial", "TrialResult", "run_trial"]

FULL_TIER: IsolationTier = "hardened"


class EscapeSuite(Protocol):
    """Attacks, from inside, the sandbox of a backend in a tier."""

    def __call__(self, backend: str, isolation: IsolationTier, step: Step) -> EscapeReport:
        """Try every attack and return the report.

        Raises:
            EngineError: an attack could not be tried.
        """
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """The parts of a trial, and the installation that it runs on."""

    home: Home
    source_root: Path
    docker_host: str
    backends: tuple[str, ...]
    tiers: Mapping[IsolationTier, str | None]
    """Every tier, with the reason why it cannot be tried; None means that it can be tried."""
    model: tuple[str, str]
    workload: Workload
    escape: EscapeSuite
    properties: tuple[tuple[str, Property], ...] = PROPERTIES
    """Properties to try in the tier `hardened`."""
    tier_properties: tuple[tuple[str, Property], ...] = TIER_PROPERTIES
    """Properties to try in every other tier that can be tried."""


@dataclass
class TrialResult:
    """The observations of a trial."""

    version: VersionView
    model: ComparedModel
    conformance: list[ConformanceResult] = field(default_factory=list)
    escape: list[EscapeReport] = field(default_factory=list)
    cases: list[CaseFigures] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """Files that the reports name by digest, by file name."""
    untried: list[UntriedTier] = field(default_factory=list)


class _Counter:
    """Advances a progress step by 1 each time that a part begins."""

    def __init__(self, step: Step, total: int) -> None:
        self._step, self._total, self._begun = step, total, 0

    def __call__(self, name: str) -> None:
        self._step.update(self._begun, self._total, name)
        self._begun += 1


def run_trial(trial: Trial, progress: Progress) -> TrialResult:
    """Run all parts of a trial.

    Raises:
        EngineError: ``validation_failed`` if the engine violates its contract; or a part could not be run.
    """
    with serving_candidate(trial.home, trial.source_root, trial.docker_host, trial.model) as candidate:
        result = TrialResult(candidate.version, candidate.model)
        _run_conformance(trial, candidate, result, progress)
        broken = [each.name for each in result.conformance if not each.holds]
        if broken:
            detail = f"nothing was released; these properties do not hold: {', '.join(broken)}"
            raise EngineError("validation_failed", detail)
        _run_workload(trial, candidate, result, progress)
    _run_escape(trial, result, progress)
    return result


def _tiers(trial: Trial) -> Sequence[IsolationTier]:
    return [tier for tier in get_args(IsolationTier) if trial.tiers[tier] is None]


def _run_conformance(trial: Trial, candidate: RunningCandidate, result: TrialResult, progress: Progress) -> None:
    result.untried = [
        UntriedTier(isolation=tier, reason=reason) for tier, reason in trial.tiers.items() if reason is not None
    ]
    plans = [
        (backend, tier, trial.properties if tier == FULL_TIER else trial.tier_properties)
        for backend in trial.backends
        for tier in _tiers(trial)
    ]
    reason = "a version is released only if the engine keeps its contract"
    with progress.step("Testing the engine through its API", reason) as step:
        count = _Counter(step, sum(len(properties) for _, _, properties in plans))
        for backend, tier, properties in plans:
            result.conformance += try_properties(candidate.subject(backend, tier), properties, count)
        broken = [each for each in result.conformance if not each.holds]
        for each in broken:
            step.note(f"{each.name} on {each.backend} ({each.isolation}): {each.observed}")
        step.note(f"{len(result.conformance) - len(broken)} of {len(result.conformance)} properties hold")


def _run_workload(trial: Trial, candidate: RunningCandidate, result: TrialResult, progress: Progress) -> None:
    total = len(trial.backends) * len(trial.workload.cases) * trial.workload.repeats
    with progress.step("Executing the fixed workload", "versions are compared on the same work") as step:
        count = _Counter(step, total)
        for backend in trial.backends:
            try:
                cases, envelopes = run_workload(candidate.subject(backend, FULL_TIER), trial.workload, count)
            except Broken as broken:
                raise EngineError("validation_failed", f"the workload failed on {backend}: {broken}") from broken
            result.cases += cases
            result.files |= {f"records/{name}.json": envelope for name, envelope in envelopes.items()}


def _run_escape(trial: Trial, result: TrialResult, progress: Progress) -> None:
    for backend in trial.backends:
        for tier in _tiers(trial):
            title = f"Attacking the sandbox of {backend} ({tier}) from inside"
            with progress.step(title, "a version is released only if every attack gives an expected answer") as step:
                report = trial.escape(backend, tier, step)
                for failure in report.failures:
                    step.note(f"{failure.name} ({failure.moment}): {failure.observed}")
                as_expected = len(report.attempts) - len(report.failures)
                step.note(f"{as_expected} of {len(report.attempts)} attacks gave an expected answer")
            result.escape.append(report)
