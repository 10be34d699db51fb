"""Everything about one record in one file, and the pages of the ledger, as the API gives them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from contracts.ledger.proof import Leaf
from contracts.wire.document import Contract, Many
from contracts.wire.envelope import Envelope
from contracts.wire.types import Count

__all__ = ["Bundle", "BundleProofs", "ConsistencyProof", "EntryPage", "LedgerEntryView"]

ProofText = Annotated[str, Field(max_length=65_536)]
HashText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]


class BundleProofs(Contract):
    """That both entries are in the ledger, each as C2SP tlog-proof with the same checkpoint."""

    started: ProofText
    """Of the statement that the execution was accepted."""
    final: ProofText
    """Of the record."""


class Bundle(Contract):
    """One record with what proves it. Whom to trust is not in it: that comes from whoever verifies."""

    MAX_BYTES: ClassVar[int] = 16_777_216

    schema_version: Literal["weos.bundle/1"]
    """Kind and version of this document."""
    record: Envelope
    """How the execution ended: the signed metrics record."""
    started: Envelope
    """The signed statement that it was accepted."""
    proofs: BundleProofs
    """Their places in the ledger."""
    manifest: Envelope | None
    """The engine manifest of the version that signed, under the root's signature; null: a development tree."""
    started_manifest: Envelope | None
    """The engine manifest of the version that accepted the execution, where that is another released one: an execution
    that one version left behind is recorded as aborted by the next. null: the same version, or a development tree."""
    keyrings: Annotated[Many[Envelope], Field(max_length=64)]
    """The root's keyrings from the first to the newest, which lead from an older trusted one to the manifest's. Empty
    where there is no manifest."""
    revocations: Annotated[Many[Envelope], Field(max_length=64)]
    """The root's revocations of these versions, as far as whoever made the bundle knows of any."""


class ConsistencyProof(Contract):
    """That the ledger of `second` entries begins with the one of `first` (RFC 9162, 2.1.4)."""

    first: Count
    """Entries of the older ledger."""
    second: Count
    """Entries of the newer one."""
    hashes: Annotated[Many[HashText], Field(max_length=64)]
    """SHA-256 hashes in base64."""


class LedgerEntryView(Contract):
    """One entry of the ledger."""

    MAX_BYTES: ClassVar[int] = 6_356_992

    position: Count
    """Its place, from 0."""
    leaf: Leaf
    """What the tree commits to."""
    envelope: Envelope
    """What the leaf commits to."""


class EntryPage(Contract):
    """Entries in order."""

    MAX_BYTES: ClassVar[int] = 67_108_864

    entries: Many[LedgerEntryView]
    """From the position asked for on."""
    size: Count
    """Entries in the ledger at that moment."""
