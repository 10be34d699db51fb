"""A whole ledger in one file: JSON Lines, first a header, then one line for each entry, in order.

Every line is the RFC 8785 form of its document, so that one ledger has one export. The file proves what it holds and
not who asked for it: whom to trust comes from whoever verifies.
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
    """An execution that was accepted and had not ended when the checkpoint was signed."""

    execution_id: ExecutionId
    """The execution."""
    plan: ExecutionPlan
    """What was to be executed, by its started statement's `plan_digest`. The final record will hold it; until then
    whoever continues the ledger needs it from here."""


class ExportHeader(Contract):
    """The first line of an export."""

    MAX_BYTES: ClassVar[int] = 67_108_864

    schema_version: Literal["weos.ledger-export/1"]
    """Kind and version of this document."""
    checkpoint: Annotated[str, Field(max_length=65_536)]
    """The ledger's signed checkpoint over exactly the entries that follow: C2SP tlog-checkpoint."""
    entries: Count
    """Number of entries that follow, one a line."""
    keyrings: Annotated[Many[Envelope], Field(max_length=64)]
    """The root's keyrings from the first to the newest, which lead from an older trusted one to the manifests'."""
    manifests: Annotated[Many[Envelope], Field(max_length=1024)]
    """Engine manifests of released versions, under the root's signatures."""
    revocations: Annotated[Many[Envelope], Field(max_length=1024)]
    """Revocations of released versions, under the root's signatures."""
    open: Annotated[Many[OpenExecution], Field(max_length=4096)]
    """Executions with a started entry and without a final one, in the order of acceptance. That they were under way is
    the exporter's word alone: a later checkpoint has to show that they ended."""


def encode_header(header: ExportHeader) -> bytes:
    """Return the line of a header."""
    sealed = {"keyrings", "manifests", "revocations"}
    rest = header.model_dump(mode="json", exclude=sealed)
    envelopes = header.model_dump(mode="json", include=sealed, exclude_none=True)
    return canonical_bytes(rest | envelopes) + b"\n"


def encode_entry(entry: LedgerEntryView) -> bytes:
    """Return the line of an entry."""
    document = entry.model_dump(mode="json")
    # A hint that is not there has no key; everywhere else null means something.
    document["envelope"] = entry.envelope.model_dump(mode="json", exclude_none=True)
    return canonical_bytes(document) + b"\n"
