"""The trust file: which keys speak for which engine versions. It comes from the verifier, never from a record."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from contracts.releases.manifest import RootKeyring
from contracts.wire.document import Contract, Many
from contracts.wire.types import EngineVersion

__all__ = ["Trust", "TrustedKey"]


class TrustedKey(Contract):
    """One engine version's key."""

    engine_version: EngineVersion
    """The version that this key speaks for."""
    public_key: Annotated[str, Field(max_length=256)]
    """Ed25519 SubjectPublicKeyInfo (DER) in base64."""


# C2SP signed-note, "Verifier keys": name, key id, and kind and key in base64.
VerifierKey = Annotated[str, StringConstraints(pattern=r"^[!-*,-~]{1,128}\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44,48}$")]


class Trust(Contract):
    """Whom the verifier trusts."""

    MAX_BYTES: ClassVar[int] = 1_048_576

    schema_version: Literal["weos.trust/1"]
    """Kind and version of this document."""
    keys: Many[TrustedKey]
    """Trusted keys; one version may have only one. Where there is a `root` they count for development versions only."""
    logs: Annotated[Many[VerifierKey], Field(max_length=64)] = ()
    """Ledgers, by their C2SP verifier keys: name, key id and Ed25519 key. Empty: proofs cannot be judged."""
    witnesses: Annotated[Many[VerifierKey], Field(max_length=64)] = ()
    """Witnesses whose cosignatures count, by their verifier keys."""
    checkpoint: Annotated[str, Field(max_length=65_536)] | None = None
    """The last checkpoint seen of the ledger, as a signed note; a ledger that does not extend it is refused."""
    root: RootKeyring | None = None
    """Root keys, whose word on released versions is trusted; null: only `keys` are."""
