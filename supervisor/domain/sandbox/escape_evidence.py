"""Whether the last run of the escape suite covers an execution, decided from the report and the plan. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from contracts.execution.escape_report import EscapeReport
from contracts.execution.execution_plan import ExecutionPlan
from contracts.wire.types import Digest

__all__ = ["EscapeEvidence", "find_evidence"]

HOW_TO_FIX = "run: weos-engine doctor --escape"


@dataclass(frozen=True, slots=True)
class EscapeEvidence:
    """The digest of a report that covers an execution, or None with the reason why no report does."""

    digest: Digest | None
    reason: str | None


def find_evidence(report: EscapeReport | None, plan: ExecutionPlan, *, kernel: str) -> EscapeEvidence:
    """Return the escape evidence for a record.

    Args:
        report: the last report of the plan's tier and backend; None means that there is none.
        plan: the plan of the execution.
        kernel: release of the kernel that it is executed on.
    """
    if report is None:
        return EscapeEvidence(None, f"the escape suite has not been run on this kind of sandbox; {HOW_TO_FIX}")
    others = list(_differences(report, plan, kernel))
    if others:
        return EscapeEvidence(None, f"the escape suite was run with another {', '.join(others)}; {HOW_TO_FIX}")
    if report.failures:
        return EscapeEvidence(
            None, f"{len(report.failures)} attack(s) of the escape suite were not blocked; {HOW_TO_FIX}"
        )
    return EscapeEvidence(report.canonical_digest(), None)


def _differences(report: EscapeReport, plan: ExecutionPlan, kernel: str) -> Iterator[str]:
    rows = {
        "engine version": (report.engine_version, plan.engine_version),
        "isolation tier": (report.isolation, plan.isolation),
        "runtime image": (report.runtime_image, plan.runtime_image),
        "set of policies": (report.policies, plan.policies),
        "kernel": (report.kernel, kernel),
    }
    return (name for name, (tried, planned) in rows.items() if tried != planned)
