"""The started record: what the engine states before an execution runs, so that a missing record is noticed."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.document import Contract, Many
from contracts.wire.statement import Subject
from contracts.wire.types import Digest, EngineVersion, ExecutionId, Nonce, Timestamp

__all__ = ["STARTED_PREDICATE_TYPE", "StartedRecord", "StartedStatement"]

STARTED_PREDICATE_TYPE: Literal["urn:weos:engine:started-record:1"] = "urn:weos:engine:started-record:1"


class StartedRecord(Contract):
    """The predicate: one execution was accepted. It is stored and in the ledger before the execution runs."""

    schema_version: Literal["weos.started-record/1"]
    """Kind and version of this document."""
    execution_id: ExecutionId
    """Identifier of the execution."""
    seq: Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
    """Number of the execution in this ledger: from 1, without gaps, in the order of acceptance."""
    engine_version: EngineVersion
    """The engine that accepted the execution; this version's key signs the statement."""
    manifest: Digest | None
    """Digest of the engine manifest of that version; null: a development version, which has none."""
    plan_digest: Digest
    """SHA-256 of the RFC 8785 form of the plan that will be executed."""
    nonce: Nonce | None
    """The auditor's challenge, which proves that this statement was signed after the nonce was chosen; null: none."""
    accepted_at: Timestamp
    """Time of acceptance, UTC."""


class StartedStatement(Contract):
    """in-toto Statement v1 about a started record; the payload of the signed envelope."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    MAX_BYTES: ClassVar[int] = 65_536

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    """Fixed by in-toto."""
    subject: Annotated[Many[Subject], Field(min_length=1, max_length=1)]
    """Digest of the plan."""
    predicateType: Literal["urn:weos:engine:started-record:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: StartedRecord
    """The started record."""
