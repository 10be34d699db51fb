"""Figures of one version compared with those of the version before: medians, ratios, or why there are none."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from statistics import median_low

from contracts.releases.reports import (
    CaseComparison,
    CaseFigures,
    ComparedModel,
    ComparisonReport,
    ExecutionFigures,
    Figures,
    HostDescription,
    PredecessorFigures,
)
from contracts.wire.types import Digest

__all__ = ["build_case", "compare_with_predecessor"]

RATIO_DIGITS = 4


def _median(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    # The lower of the middle two, so that the median is a measured number.
    return median_low(measured) if measured else None


def build_case(case: str, backend: str, executions: Sequence[ExecutionFigures]) -> CaseFigures:
    """Return one case with the medians of its executions."""
    median = Figures(
        tokens_per_sec=_median(each.tokens_per_sec for each in executions),
        latency_p95_ms=_median(each.latency_p95_ms for each in executions),
        watts_avg=_median(each.watts_avg for each in executions),
        tokens_per_watt=_median(each.tokens_per_watt for each in executions),
    )
    return CaseFigures(case=case, backend=backend, executions=tuple(executions), median=median)


def _ratio(ours: float | None, theirs: float | None, *, comparable: bool) -> float | None:
    if not comparable or ours is None or not theirs:
        return None
    return float(round(Fraction(ours) / Fraction(theirs), RATIO_DIGITS))


def _outputs(case: CaseFigures) -> set[str]:
    return {each.output for each in case.executions}


def _sources(case: CaseFigures) -> set[str]:
    return {each.watts_source for each in case.executions}


def _compare_case(ours: CaseFigures, theirs: CaseFigures, *, comparable: bool) -> CaseComparison:
    one, other = ours.median, theirs.median
    # Watts from different sources are never compared.
    watts = comparable and _sources(ours) == _sources(theirs)
    return CaseComparison(
        case=ours.case,
        backend=ours.backend,
        predecessor=other,
        tokens_per_sec_ratio=_ratio(one.tokens_per_sec, other.tokens_per_sec, comparable=comparable),
        latency_p95_ratio=_ratio(one.latency_p95_ms, other.latency_p95_ms, comparable=comparable),
        watts_avg_ratio=_ratio(one.watts_avg, other.watts_avg, comparable=watts),
        tokens_per_watt_ratio=_ratio(one.tokens_per_watt, other.tokens_per_watt, comparable=watts),
        same_output=_outputs(ours) == _outputs(theirs),
    )


def compare_with_predecessor(
    cases: Sequence[CaseFigures],
    *,
    host: HostDescription,
    model: ComparedModel,
    workload: Digest,
    before: ComparisonReport,
    digest: Digest,
) -> PredecessorFigures:
    """Compare a version's figures with the signed report of the version before.

    Args:
        cases: this version's figures.
        host: the machine on which they were measured.
        model: the model that was executed.
        workload: digest of the workload.
        before: the report of the version before.
        digest: digest of that report's signed payload.
    """
    there = before.candidate.host
    facts = (
        ((there.processor, there.logical_cpus) == (host.processor, host.logical_cpus), "are from another machine"),
        (before.model == model, "are of another model"),
        (before.workload == workload, "are of another workload"),
    )
    reasons = tuple(f"the predecessor's figures {what}" for same, what in facts if not same)
    theirs = {(case.case, case.backend): case for case in before.cases}
    return PredecessorFigures(
        engine_version=before.candidate.engine_version,
        comparison=digest,
        host=there,
        incomparable=reasons,
        cases=tuple(
            _compare_case(case, theirs[case.case, case.backend], comparable=not reasons)
            for case in cases
            if (case.case, case.backend) in theirs
        ),
    )
