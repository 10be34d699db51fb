"""A whole ledger in one file: JSON Lines, first a header, then one line for each entry, in order.

Every line is the RFC 8785 form of its document, so a ledger has exactly one export. The file does not say which keys to
trust: those come from the verifier.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from contracts.execution.execution_plan import ExecutionPlan
from contracts.ledger.bundle import LedgerEntryView
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract, Many
from contracts.wire.envelope import Envelope
from contracts.wire.types import Count, ExecutionId

__all__ = ["ExportHeader", "OpenExecution", "encode_entry", "encode_header"]


class OpenExecution(Contract):
    """An execution that was accepted but had not ended when the checkpoint was signed."""

    execution_id: ExecutionId
    """Identifier of the execution."""
    plan: ExecutionPlan
    """The plan to execute; its digest is `plan_digest` of the started statement. The final record will contain the
    plan. Until then, an engine that continues the ledger can get it only from here."""


class ExportHeader(Contract):
    """The first line of an export."""

    MAX_BYTES: ClassVar[int] = 67_108_864

    schema_version: Literal["weos.ledger-export/1"]
    """Kind and version of this document."""
    checkpoint: Annotated[str, Field(max_length=65_536)]
    """Signed checkpoint (C2SP tlog-checkpoint) of a ledger with exactly the entries that follow."""
    entries: Count
    """Number of entries that follow, one per line."""
    keyrings: Annotated[Many[Envelope], Field(max_length=64)]
    """All root keyrings from the first to the newest. They lead from the keyring that the verifier trusts to those that
    signed the manifests."""
    manifests: Annotated[Many[Envelope], Field(max_length=1024)]
    """Engine manifests of released versions, signed by root keys."""
    revocations: Annotated[Many[Envelope], Field(max_length=1024)]
    """Revocations of released versions, signed by root keys."""
    open: Annotated[Many[OpenExecution], Field(max_length=4096)]
    """Executions with a started entry and without a final entry, in the order of acceptance. Only the exporter vouches
    that they were still in progress: a later checkpoint must show that they ended."""


def encode_header(header: ExportHeader) -> bytes:
    """Return the header as one line, newline included."""
    sealed = {"keyrings", "manifests", "revocations"}
    rest = header.model_dump(mode="json", exclude=sealed)
    envelopes = header.model_dump(mode="json", include=sealed, exclude_none=True)
    return canonical_bytes(rest | envelopes) + b"\n"


def encode_entry(entry: LedgerEntryView) -> bytes:
    """Return an entry as one line, newline included."""
    document = entry.model_dump(mode="json")
    # A missing `keyid` is left out; everywhere else null has a meaning and is written.
    document["envelope"] = entry.envelope.model_dump(mode="json", exclude_none=True)
    return canonical_bytes(document) + b"\n"
