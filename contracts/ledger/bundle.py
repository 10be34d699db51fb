"""A record with everything that proves it, and pages of the ledger: documents that the API returns."""

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
    """Proofs that both entries are in the ledger, each a C2SP tlog-proof with the same checkpoint."""

    started: ProofText
    """Proof for the statement that the execution was accepted."""
    final: ProofText
    """Proof for the metrics record."""


class Bundle(Contract):
    """One record with everything that proves it, except the trusted keys: those come from the verifier."""

    MAX_BYTES: ClassVar[int] = 16_777_216

    schema_version: Literal["weos.bundle/1"]
    """Kind and version of this document."""
    record: Envelope
    """The signed metrics record: how the execution ended."""
    started: Envelope
    """The signed statement that the execution was accepted."""
    proofs: BundleProofs
    """Proofs that both are in the ledger."""
    manifest: Envelope | None
    """Engine manifest of the version that signed the record, signed by root keys; null: a development version, which
    has none."""
    started_manifest: Envelope | None
    """Engine manifest of the version that accepted the execution, if that is another released version: an execution
    that one version left unfinished is recorded as aborted by the next. null: the same version, or a development
    version."""
    keyrings: Annotated[Many[Envelope], Field(max_length=64)]
    """All root keyrings from the first to the newest. They lead from the keyring that the verifier trusts to the one
    that signed the manifest. Empty if there is no manifest."""
    revocations: Annotated[Many[Envelope], Field(max_length=64)]
    """Revocations of these versions, signed by root keys, as far as the creator of the bundle knows them."""


class ConsistencyProof(Contract):
    """Proof that the ledger of `second` entries begins with the ledger of `first` entries (RFC 9162, 2.1.4)."""

    first: Count
    """Number of entries of the older ledger."""
    second: Count
    """Number of entries of the newer ledger."""
    hashes: Annotated[Many[HashText], Field(max_length=64)]
    """SHA-256 hashes of the proof, in base64."""


class LedgerEntryView(Contract):
    """One entry of the ledger."""

    MAX_BYTES: ClassVar[int] = 6_356_992

    position: Count
    """Position of the entry in the ledger; 0 is the first."""
    leaf: Leaf
    """The entry's leaf in the Merkle tree; it contains digest and signature of the statement."""
    envelope: Envelope
    """The signed statement."""


class EntryPage(Contract):
    """A page of ledger entries, in order."""

    MAX_BYTES: ClassVar[int] = 67_108_864

    entries: Many[LedgerEntryView]
    """Entries from the requested position on; empty: there are none."""
    size: Count
    """Number of entries in the ledger at that moment."""
