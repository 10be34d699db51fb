"""The report on an export of a ledger: the faults of each check, and a summary of the log."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from contracts.ledger.proof import Checkpoint
from contracts.verify.checks import Check, verdict_of
from contracts.verify.consistency import CHECKPOINT_CHECKS
from contracts.verify.log_entries import StatementFacts

__all__ = ["FINDINGS_MAX", "LOG_CHECKS", "Finding", "Findings", "LogReport", "LogSummary"]

LOG_CHECKS = (
    "header",
    *CHECKPOINT_CHECKS,
    "releases",
    "entries",
    "tree",
    "last seen",
    "statements",
    "identities",
    "sequence",
    "results",
)
# The maximum number of findings kept for one check; further findings are only counted.
FINDINGS_MAX = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault and its line."""

    check: str
    code: str
    line: int | None
    """Number of the line, from 1; None for the whole export."""
    message: str


@dataclass(slots=True)
class LogSummary:
    """Figures about the log. Refused statements are not counted among outcomes and versions."""

    entries: int = 0
    executions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    """Statements by the engine version that made them."""
    first_at: str | None = None
    """The earliest time of acceptance; None if there is no statement."""
    last_at: str | None = None
    """The latest time of acceptance or end."""
    open: int = 0
    """Executions without a result."""

    def count(self, statement: StatementFacts) -> None:
        """Count a verified statement."""
        self.versions[statement.engine_version] += 1
        self.first_at = min(self.first_at or statement.accepted_at, statement.accepted_at)
        latest = statement.finished_at or statement.accepted_at
        self.last_at = max(self.last_at or latest, latest)
        if statement.outcome is not None:
            self.outcomes[statement.outcome] += 1


@dataclass(frozen=True, slots=True)
class LogReport:
    """All checks that were made, in order, with their findings."""

    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]
    summary: LogSummary
    checkpoint: Checkpoint | None
    """The verified checkpoint; None if it was refused."""

    @property
    def verdict(self) -> str:
        """``VALID``, or the code of the first check that failed."""
        return verdict_of(self.checks)


class Findings:
    """Collects the faults of every check."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._kept: dict[str, list[Finding]] = {name: [] for name in LOG_CHECKS}

    def add(self, finding: Finding) -> None:
        """Add a finding; at most ``FINDINGS_MAX`` findings of each check are kept."""
        self._counts[finding.check] += 1
        if self._counts[finding.check] <= FINDINGS_MAX:
            self._kept[finding.check].append(finding)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def list_kept(self) -> tuple[Finding, ...]:
        """Return the kept findings, in the order of the checks."""
        return tuple(finding for name in LOG_CHECKS for finding in self._kept[name])

    def judge(self, good: Mapping[str, str | None]) -> Iterator[Check]:
        """Yield the result of each check.

        Args:
            good: by the name of each check, the message if it found no fault; None if it could not be made.
        """
        for name, message in good.items():
            found = self._kept[name]
            if found:
                more = self._counts[name] - 1
                where = f"line {found[0].line}: {found[0].message}"
                yield Check(name, found[0].code, where + (f" (and {more} more)" if more else ""))
            elif message is not None:
                yield Check(name, "OK", message)
