"""Signs "accepted" and "ended" statements with an engine version's key."""

from dataclasses import dataclass
from datetime import datetime

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord
from contracts.wire.envelope import Signer, seal
from supervisor.domain.records.recording import Conclusion, build_record, encode_started, encode_statement

__all__ = ["Recorder"]


@dataclass(frozen=True, slots=True)
class Recorder:
    """Signs statements with the key of one engine version."""

    engine_version: str
    manifest: str | None
    signer: Signer

    def seal_started(self, execution_id: str, plan: ExecutionPlan, *, seq: int, accepted_at: datetime) -> bytes:
        """Return the signed statement that an execution was accepted."""
        statement = encode_started(
            execution_id,
            plan,
            seq=seq,
            engine_version=self.engine_version,
            manifest=self.manifest,
            accepted_at=accepted_at,
        )
        return seal(statement, self.signer)

    def record(
        self,
        execution_id: str,
        plan: ExecutionPlan,
        conclusion: Conclusion,
        *,
        seq: int,
        accepted_at: datetime,
        finished_at: datetime,
    ) -> tuple[MetricsRecord, bytes]:
        """Return the record of an ended execution, and its signed statement."""
        record = build_record(
            execution_id,
            plan,
            conclusion,
            seq=seq,
            engine_version=self.engine_version,
            manifest=self.manifest,
            accepted_at=accepted_at,
            finished_at=finished_at,
        )
        return record, seal(encode_statement(record), self.signer)
