"""The started record: what the engine states before an execution runs, so that leaving one out shows."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.document import Contract, Many
from contracts.wire.statement import Subject
from contracts.wire.types import Digest, EngineVersion, ExecutionId, Nonce, Timestamp

__all__ = ["STARTED_PREDICATE_TYPE", "StartedRecord", "StartedStatement"]

STARTED_PREDICATE_TYPE: Literal["urn:weos:engine:started-record:1"] = "urn:weos:engine:started-record:1"


class StartedRecord(Contract):
    """The predicate: one execution was accepted. It is durable and in the ledger before anything runs."""

    schema_version: Literal["weos.started-record/1"]
    """Kind and version of this document."""
    execution_id: ExecutionId
    """The execution."""
    seq: Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
    """Its number in this ledger: from 1, without gaps, in the order of acceptance."""
    engine_version: EngineVersion
    """The engine that accepted it; the signature is by this version's key."""
    manifest: Digest | None
    """Digest of that version's engine manifest; null: a development tree, which has none."""
    plan_digest: Digest
    """SHA-256 over the RFC 8785 form of the plan that will be executed."""
    nonce: Nonce | None
    """The auditor's challenge, if any: whoever chose it knows that this statement is younger."""
    accepted_at: Timestamp
    """When it was accepted, UTC."""


class StartedStatement(Contract):
    """in-toto Statement v1 about a started record; the payload of the signed envelope."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    MAX_BYTES: ClassVar[int] = 65_536

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    """Fixed by in-toto."""
    subject: Annotated[Many[Subject], Field(min_length=1, max_length=1)]
    """The plan."""
    predicateType: Literal["urn:weos:engine:started-record:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: StartedRecord
    """The record itself."""
