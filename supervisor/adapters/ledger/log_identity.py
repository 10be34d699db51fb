"""Who a home's log is, and who writes it."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.ledger.note import Verifier, verifier_of
from contracts.wire.envelope import Signer
from contracts.wire.keys import key_fingerprint

__all__ = ["LogIdentity", "identify_log"]


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Who the log is: its name and key, and the manifest of the engine version that writes (None: development)."""

    verifier: Verifier
    signer: Signer
    manifest: str | None


def identify_log(key: Ed25519PublicKey) -> Verifier:
    """Return the verifier of a home's log: its name follows from its key."""
    return verifier_of(f"weos-engine/ledger/{key_fingerprint(key)[:16]}", key)
