"""Verify root keyrings and signatures by root keys, offline, against a keyring that the caller trusts.

The caller has the first trusted keyring from another source. A newer keyring is accepted only if keys of the keyring
before it and its own keys have signed it. Decisions only: no file, no clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.releases.manifest import RootKey, RootKeyring
from contracts.releases.statements import KeyringStatement, state_keyring
from contracts.verify.checks import (
    CheckFailed,
    Checks,
    Verified,
    code_of,
    open_envelope,
    read_payload,
    run_checks,
)
from contracts.wire.envelope import signature_holds
from contracts.wire.errors import ContractError
from contracts.wire.keys import load_public_key

__all__ = [
    "check_root_signatures",
    "follow_keyrings",
    "load_checked_key",
    "read_first_keyring",
    "require_valid_at",
    "verify_keyring_chain",
]


def load_checked_key(text: str, whose: str) -> Ed25519PublicKey:
    """Return a public key.

    Raises:
        CheckFailed: ``WEAK_KEY`` or ``MALFORMED``.
    """
    try:
        return load_public_key(text)
    except ContractError as error:
        raise CheckFailed(code_of(error), f"{whose} is refused: {error}") from error


def _find_signers(keys: Iterable[RootKey], signatures: Sequence[bytes], payload: bytes) -> tuple[list[RootKey], int]:
    # The keys that signed, each counted once, and the number of signatures by none of the keys.
    loaded = [(key, load_checked_key(key.public_key, "a root key")) for key in keys]
    signers: dict[str, RootKey] = {}
    strange = 0
    for signature in signatures:
        found = next((key for key, public in loaded if signature_holds(public, signature, payload)), None)
        if found is None:
            strange += 1
        else:
            signers[found.public_key] = found
    return list(signers.values()), strange


def check_root_signatures(
    checks: Checks, keyring: RootKeyring, signatures: Sequence[bytes], payload: bytes, *, otherwise: str
) -> list[RootKey]:
    """Check the number of signatures, then the keys that made them; return these keys.

    Raises:
        CheckFailed: ``SIGNATURE_COUNT``, or ``otherwise`` if root keys did not sign.
    """
    checks.begin("signature count")
    if len(signatures) != keyring.threshold:
        detail = f"{len(signatures)} signatures; the keyring requires exactly {keyring.threshold}"
        raise CheckFailed("SIGNATURE_COUNT", detail)
    checks.hold(f"{len(signatures)}, as the keyring requires")
    checks.begin("root signature")
    signers, _ = _find_signers(keyring.keys, signatures, payload)
    if len(signers) < keyring.threshold:
        raise CheckFailed(otherwise, f"not signed by {keyring.threshold} of the keys of root keyring {keyring.version}")
    checks.hold(f"Ed25519, by {len(signers)} of the keys of root keyring {keyring.version}")
    return signers


def require_valid_at(signers: Sequence[RootKey], at: str, what: str) -> str:
    """Require that a document was signed while its root keys were in use; return a message.

    Raises:
        CheckFailed: ``OUT_OF_VALIDITY``.
    """
    # All times have one form, in UTC, so their texts sort as the times do.
    for key in signers:
        if at < key.valid_from or (key.valid_until is not None and at > key.valid_until):
            window = f"from {key.valid_from} to {key.valid_until or 'now'}"
            raise CheckFailed("OUT_OF_VALIDITY", f"{what} is dated {at}; its root key was in use {window}")
    return f"{at}, while its root key was in use"


@dataclass(frozen=True, slots=True)
class _Opened:
    keyring: RootKeyring
    signatures: tuple[bytes, ...]
    payload: bytes


def _open_keyring(checks: Checks, data: bytes) -> _Opened:
    signatures, payload = open_envelope(checks, data)
    checks.begin("keyring")
    statement = read_payload(KeyringStatement, payload)
    keyring = statement.predicate
    checks.hold(f"root keyring {keyring.version}, in RFC 8785 form")
    checks.begin("subjects")
    if state_keyring(keyring) != statement:
        raise CheckFailed("ID_MISMATCH", "the statement's subject is not the keyring in it")
    checks.hold("subject agrees")
    return _Opened(keyring, signatures, payload)


def _require_signed_by(opened: _Opened, *keyrings: RootKeyring) -> str:
    if not opened.signatures:
        raise CheckFailed("SIGNATURE_COUNT", "the keyring has no signature")
    keys = {key.public_key: key for keyring in keyrings for key in keyring.keys}
    signers, strange = _find_signers(keys.values(), opened.signatures, opened.payload)
    if strange:
        raise CheckFailed("BAD_SIGNATURE", f"{strange} of its signatures were not made by any root key")
    signed = {key.public_key for key in signers}
    for keyring in keyrings:
        if len(signed & {key.public_key for key in keyring.keys}) < keyring.threshold:
            whose = f"the {len(keyring.keys)} keys of root keyring {keyring.version}"
            raise CheckFailed("SIGNATURE_COUNT", f"signed by fewer than {keyring.threshold} of {whose}")
    return f"Ed25519, by {len(signers)} root keys"


def _check_first(checks: Checks, data: bytes) -> RootKeyring:
    opened = _open_keyring(checks, data)
    checks.begin("version")
    if opened.keyring.version != 1:
        raise CheckFailed("INCONSISTENT", f"it is root keyring {opened.keyring.version}, not root keyring 1")
    checks.hold("1")
    checks.begin("signatures")
    checks.hold(_require_signed_by(opened, opened.keyring))
    return opened.keyring


def read_first_keyring(data: bytes) -> Verified[RootKeyring]:
    """Read the first keyring. Its own keys sign it, which shows that it is complete, not that it can be trusted."""
    return run_checks(_check_first, data)


@dataclass(frozen=True, slots=True)
class _Next:
    keyring: RootKeyring
    message: str


def _check_next(
    checks: Checks, data: bytes, trusted: RootKeyring, current: RootKeyring, before: RootKeyring | None
) -> _Next:
    opened = _open_keyring(checks, data)
    keyring = opened.keyring
    checks.begin("version")
    follows = keyring.version == before.version + 1 if before else keyring.version <= trusted.version + 1
    if not follows:
        raise CheckFailed("INCONSISTENT", f"root keyring {keyring.version} does not follow the one before it")
    if keyring.version == trusted.version and keyring != trusted:
        raise CheckFailed("FORK", f"it differs from the trusted root keyring {trusted.version}; keep both as evidence")
    checks.hold(str(keyring.version))
    checks.begin("signatures")
    if keyring.version > trusted.version:
        return _Next(keyring, _require_signed_by(opened, current, keyring))
    # The result does not depend on these signatures, but a changed keyring is still reported. If the chain begins after
    # the first keyring, the keys of the keyring before are not available.
    if before is not None or keyring.version == 1:
        _require_signed_by(opened, *((before,) if before else ()), keyring)
    return _Next(keyring, "not needed: it is no newer than the trusted keyring")


def follow_keyrings(checks: Checks, trusted: RootKeyring, chain: Sequence[bytes]) -> RootKeyring:
    """Make one check for each keyring of a chain; return the newest keyring. See ``verify_keyring_chain``.

    Raises:
        CheckFailed: a keyring is refused, or all of them are older than the trusted keyring.
    """
    current = trusted
    before: RootKeyring | None = None
    for number, data in enumerate(chain, 1):
        checks.begin(f"root keyring {number}")
        found = run_checks(_check_next, data, trusted, current, before).require()
        checks.hold(f"version {found.keyring.version}: {found.message}")
        before = found.keyring
        if before.version > current.version:
            current = before
    if before is not None and before.version < trusted.version:
        checks.begin("root keyring age")
        message = f"the newest keyring offered is {before.version}; the trusted one is {trusted.version}"
        raise CheckFailed("ROOT_ROLLBACK", message)
    return current


def verify_keyring_chain(trusted: RootKeyring, chain: Sequence[bytes]) -> Verified[RootKeyring]:
    """Go from a trusted keyring to the newest offered keyring, one version at a time.

    Args:
        trusted: the caller's keyring.
        chain: envelopes of keyrings, oldest first, without gaps. It may begin before the trusted keyring.

    Returns:
        One check for each keyring, and the newest keyring. ``ROOT_ROLLBACK``: all are older than the trusted one.
        ``FORK``: a keyring has the trusted one's version and other content. ``INCONSISTENT``: a version is missing.
        ``BAD_SIGNATURE`` and ``SIGNATURE_COUNT``: the keys before it and its own did not sign a keyring.
    """
    return run_checks(follow_keyrings, trusted, chain)
