"""Signs "accepted" and "ended" statements with an engine version's key."""

from dataclasses import dataclass
from datetime import datetime

from contracts.execution.challenge import Challenge, ChallengeStatement
from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord
from contracts.wire.envelope import Signer, seal
from supervisor.domain.records.recording import Conclusion, build_record, encode_started, encode_statement, format_time

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

    def seal_challenge(self, nonce: str, address: str, *, now: datetime) -> bytes:
        """Return the signed statement that this engine listens at an address."""
        challenge = Challenge(
            schema_version="weos.challenge/1",
            nonce=nonce,
            address=address,
            engine_version=self.engine_version,
            manifest=self.manifest,
            signed_at=format_time(now),
        )
        return seal(ChallengeStatement.of(challenge).encode(), self.signer)

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
