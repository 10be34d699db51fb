"""Builds the record of an execution and encodes the statements to sign."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from contracts.execution.determinism import classify_determinism
from contracts.execution.execution_plan import ExecutionPlan, PlannedArtifact
from contracts.execution.metrics import Measurements, Metrics, derive_metrics
from contracts.execution.metrics_record import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    MetricsRecord,
    Outcome,
    Reason,
    SandboxObservation,
    Statement,
)
from contracts.execution.power_evidence import PowerEvidence
from contracts.execution.started_record import STARTED_PREDICATE_TYPE, StartedRecord, StartedStatement
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import sha256_digest
from contracts.wire.statement import Subject

__all__ = [
    "Conclusion",
    "abort_conclusion",
    "build_record",
    "encode_started",
    "encode_statement",
    "format_time",
]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How one execution ended, and everything that was observed about it."""

    outcome: Outcome
    reason: Reason | None
    output: str | None = field(repr=False)
    measurements: Measurements | None
    power: PowerEvidence | None
    sandbox: SandboxObservation | None

    @property
    def metrics(self) -> Metrics | None:
        """The derived metrics, or None if there are no measurements or no power evidence."""
        if self.measurements is None or self.power is None:
            return None
        return derive_metrics(self.measurements, self.power)


def abort_conclusion() -> Conclusion:
    """Return the conclusion of an execution that an ended supervisor left unfinished: nothing about it is known."""
    reason = Reason(
        code="aborted",
        message="the supervisor ended while the execution was running; the output of the execution is not known",
    )
    return Conclusion("aborted", reason, None, None, None, None)


def format_time(moment: datetime) -> str:
    """Return the time in RFC 3339 form, in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def build_record(
    execution_id: str,
    plan: ExecutionPlan,
    conclusion: Conclusion,
    *,
    seq: int,
    engine_version: str,
    manifest: str | None,
    accepted_at: datetime,
    finished_at: datetime,
) -> MetricsRecord:
    """Return the record of one execution.

    Args:
        execution_id: the execution.
        plan: its plan.
        conclusion: how it ended.
        seq: its number in the ledger.
        engine_version: version of the engine that makes the statement. It differs from the plan's if an earlier engine
            was killed.
        manifest: digest of that version's engine manifest, if it has one.
        accepted_at: when the execution became durable.
        finished_at: when its outcome was known; `accepted_at` is used instead if the clock was set back meanwhile.
    """
    output = None
    if conclusion.output is not None:
        text = conclusion.output.encode("utf-8")
        output = PlannedArtifact(sha256=sha256_digest(text), size_bytes=len(text))
    sandbox = conclusion.sandbox
    return MetricsRecord(
        schema_version="weos.metrics-record/1",
        execution_id=execution_id,
        seq=seq,
        engine_version=engine_version,
        manifest=manifest,
        plan=plan,
        plan_digest=plan.canonical_digest(),
        outcome=conclusion.outcome,
        reason=conclusion.reason,
        accepted_at=format_time(accepted_at),
        finished_at=format_time(max(accepted_at, finished_at)),
        output=output,
        measurements=conclusion.measurements,
        power=conclusion.power,
        metrics=conclusion.metrics,
        sandbox=sandbox,
        determinism=classify_determinism(plan, None if sandbox is None else sandbox.cpu_features),
    )


def encode_statement(record: MetricsRecord) -> bytes:
    """Return the bytes to sign: the in-toto Statement about a record, in RFC 8785 form."""
    subjects = [Subject(name="plan", digest={"sha256": record.plan_digest.removeprefix("sha256:")})]
    if record.output is not None:
        subjects.append(Subject(name="output", digest={"sha256": record.output.sha256.removeprefix("sha256:")}))
    statement = Statement(type_=STATEMENT_TYPE, subject=tuple(subjects), predicateType=PREDICATE_TYPE, predicate=record)
    return canonical_bytes(statement.model_dump(mode="json", by_alias=True))


def encode_started(
    execution_id: str,
    plan: ExecutionPlan,
    *,
    seq: int,
    engine_version: str,
    manifest: str | None,
    accepted_at: datetime,
) -> bytes:
    """Return the bytes to sign: the in-toto Statement that an execution was accepted, in RFC 8785 form."""
    plan_digest = plan.canonical_digest()
    statement = StartedStatement(
        type_=STATEMENT_TYPE,
        subject=(Subject(name="plan", digest={"sha256": plan_digest.removeprefix("sha256:")}),),
        predicateType=STARTED_PREDICATE_TYPE,
        predicate=StartedRecord(
            schema_version="weos.started-record/1",
            execution_id=execution_id,
            seq=seq,
            engine_version=engine_version,
            manifest=manifest,
            plan_digest=plan_digest,
            nonce=plan.nonce,
            accepted_at=format_time(accepted_at),
        ),
    )
    return canonical_bytes(statement.model_dump(mode="json", by_alias=True))
