"""The trust file: the keys that may sign for each engine version. The verifier supplies it, never a record."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from contracts.releases.manifest import RootKeyring
from contracts.wire.document import Contract, Many
from contracts.wire.types import EngineVersion

__all__ = ["Trust", "TrustedKey"]


class TrustedKey(Contract):
    """The trusted key of one engine version."""

    engine_version: EngineVersion
    """The engine version whose records this key signs."""
    public_key: Annotated[str, Field(max_length=256)]
    """Ed25519 SubjectPublicKeyInfo (DER) in base64."""


# C2SP signed-note, "Verifier keys": name, key id, and kind and key in base64.
VerifierKey = Annotated[str, StringConstraints(pattern=r"^[!-*,-~]{1,128}\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44,48}$")]


class Trust(Contract):
    """The keys, ledgers and witnesses that the verifier trusts."""

    MAX_BYTES: ClassVar[int] = 1_048_576

    schema_version: Literal["weos.trust/1"]
    """Kind and version of this document."""
    keys: Many[TrustedKey]
    """Trusted keys, at most one for each version. If there is a `root`, they count only for development versions."""
    logs: Annotated[Many[VerifierKey], Field(max_length=64)] = ()
    """Trusted ledgers, as C2SP verifier keys: name, key id and Ed25519 key. Empty: inclusion in a ledger cannot be
    verified."""
    witnesses: Annotated[Many[VerifierKey], Field(max_length=64)] = ()
    """Witnesses whose cosignatures count, as C2SP verifier keys."""
    checkpoint: Annotated[str, Field(max_length=65_536)] | None = None
    """The last checkpoint of the ledger that the verifier has seen, as a signed note. A ledger that does not extend it
    is refused. null: none seen yet."""
    root: RootKeyring | None = None
    """Root keyring whose statements about released versions are trusted; null: only `keys` are trusted."""
