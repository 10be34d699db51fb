"""Verify root keyrings and signatures by root keys, offline, against a keyring that the caller trusts.

The caller has the first trusted keyring from elsewhere; a newer one is accepted only where keys of the one before it
and its own have signed it. Decisions only: no file, no clock.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.releases.manifest import RootKey, RootKeyring
from contracts.releases.statements import KeyringStatement, state_keyring
from contracts.verify.checks import (
    OPENING_CHECKS,
    Check,
    CheckFailed,
    Verified,
    code_of,
    collect_checks,
    open_envelope,
    read_payload,
)
from contracts.wire.envelope import signature_holds
from contracts.wire.errors import ContractError
from contracts.wire.keys import load_public_key

__all__ = [
    "KEYRING_CHECKS",
    "load_checked_key",
    "read_first_keyring",
    "require_root_signatures",
    "require_valid_at",
    "verify_keyring_chain",
]
KEYRING_CHECKS = (*OPENING_CHECKS, "keyring", "subjects", "version", "signatures")

_T = TypeVar("_T")


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
    # The keys that signed, each counted once, and how many signatures are nobody's.
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


def require_root_signatures(
    keyring: RootKeyring, signatures: Sequence[bytes], payload: bytes, *, otherwise: str
) -> Generator[str, None, list[RootKey]]:
    """Make two checks, the number of signatures and whose they are; return the keys that signed.

    Raises:
        CheckFailed: ``SIGNATURE_COUNT``, or the code given in ``otherwise``.
    """
    if len(signatures) != keyring.threshold:
        detail = f"{len(signatures)} signatures; the keyring asks for exactly {keyring.threshold}"
        raise CheckFailed("SIGNATURE_COUNT", detail)
    yield f"{len(signatures)}, as the keyring asks"
    signers, _ = _find_signers(keyring.keys, signatures, payload)
    if len(signers) < keyring.threshold:
        raise CheckFailed(otherwise, f"not signed by {keyring.threshold} of the keys of root keyring {keyring.version}")
    yield f"Ed25519, by {len(signers)} of the keys of root keyring {keyring.version}"
    return signers


def require_valid_at(signers: Sequence[RootKey], at: str, what: str) -> str:
    """Return a message that what was signed at a time is within the time of its root keys.

    Raises:
        CheckFailed: ``OUT_OF_VALIDITY``.
    """
    # The times are of one form, in UTC, so that their order is that of their texts.
    for key in signers:
        if at < key.valid_from or (key.valid_until is not None and at > key.valid_until):
            window = f"from {key.valid_from} to {key.valid_until or 'now'}"
            raise CheckFailed("OUT_OF_VALIDITY", f"{what} is of {at}; its root key was in use {window}")
    return f"{at}, within the time of its root key"


@dataclass(frozen=True, slots=True)
class _Opened:
    keyring: RootKeyring
    signatures: tuple[bytes, ...]
    payload: bytes


def _open_keyring(data: bytes) -> Generator[str, None, _Opened]:
    signatures, payload = yield from open_envelope(data)
    statement = read_payload(KeyringStatement, payload)
    keyring = statement.predicate
    yield f"root keyring {keyring.version}, in RFC 8785 form"
    if state_keyring(keyring) != statement:
        raise CheckFailed("ID_MISMATCH", "the statement's subject is not its keyring")
    yield "subject agrees"
    return _Opened(keyring, signatures, payload)


def _require_signed_by(opened: _Opened, *keyrings: RootKeyring) -> str:
    if not opened.signatures:
        raise CheckFailed("SIGNATURE_COUNT", "it has no signature")
    keys = {key.public_key: key for keyring in keyrings for key in keyring.keys}
    signers, strange = _find_signers(keys.values(), opened.signatures, opened.payload)
    if strange:
        raise CheckFailed("BAD_SIGNATURE", f"{strange} of its signatures are by none of the root keys")
    signed = {key.public_key for key in signers}
    for keyring in keyrings:
        if len(signed & {key.public_key for key in keyring.keys}) < keyring.threshold:
            whose = f"the {len(keyring.keys)} keys of root keyring {keyring.version}"
            raise CheckFailed("SIGNATURE_COUNT", f"fewer than {keyring.threshold} of {whose} have signed it")
    return f"Ed25519, by {len(signers)} root keys"


def _first_steps(data: bytes) -> Generator[str, None, RootKeyring]:
    opened = yield from _open_keyring(data)
    if opened.keyring.version != 1:
        raise CheckFailed("INCONSISTENT", f"it is root keyring {opened.keyring.version}, not the first")
    yield "1"
    yield _require_signed_by(opened, opened.keyring)
    return opened.keyring


def read_first_keyring(data: bytes) -> Verified[RootKeyring]:
    """Read the first keyring: it is signed by its own keys, which says that it is whole and not that it is trusted."""
    return Verified(*collect_checks(KEYRING_CHECKS, _first_steps(data)))


def _next_steps(
    data: bytes, trusted: RootKeyring, current: RootKeyring, before: RootKeyring | None
) -> Generator[str, None, RootKeyring]:
    opened = yield from _open_keyring(data)
    keyring = opened.keyring
    follows = keyring.version == before.version + 1 if before else keyring.version <= trusted.version + 1
    if not follows:
        raise CheckFailed("INCONSISTENT", f"root keyring {keyring.version} does not follow on the one before")
    if keyring.version == trusted.version and keyring != trusted:
        raise CheckFailed("FORK", f"it differs from the trusted root keyring {trusted.version}; keep both")
    yield str(keyring.version)
    if keyring.version > trusted.version:
        yield _require_signed_by(opened, current, keyring)
        return keyring
    # Nothing rests on it, but what was changed on the way is not passed over. Where the chain begins later than with
    # the first, the keys of the one before are not at hand.
    if before is not None or keyring.version == 1:
        _require_signed_by(opened, *((before,) if before else ()), keyring)
    yield "not needed, it is no newer than the trusted one"
    return keyring


def verify_keyring_chain(trusted: RootKeyring, chain: Sequence[bytes]) -> Verified[RootKeyring]:
    """Go from a trusted keyring to the newest one that is offered, one at a time.

    Args:
        trusted: the caller's.
        chain: envelopes of keyrings, oldest first, without gaps; may begin before the trusted one.

    Returns:
        One check for each keyring, and the newest. ``ROOT_ROLLBACK``: all are older than the trusted one. ``FORK``:
        one of the same version differs from it. ``INCONSISTENT``: they do not follow on each other.
        ``BAD_SIGNATURE`` and ``SIGNATURE_COUNT``: not signed by the keys before and its own.
    """
    done: list[Check] = []
    current = trusted
    before: RootKeyring | None = None
    for number, data in enumerate(chain, 1):
        checks, keyring = collect_checks(KEYRING_CHECKS, _next_steps(data, trusted, current, before))
        name = f"root keyring {number}"
        if keyring is None:
            failed = checks[-1]
            return Verified((*done, Check(name, failed.code, f"{failed.name}: {failed.message}")), None)
        done.append(Check(name, "OK", f"version {keyring.version}: {checks[-1].message}"))
        before = keyring
        if keyring.version > current.version:
            current = keyring
    if before is not None and before.version < trusted.version:
        message = f"the newest that is offered is {before.version}, the trusted one is {trusted.version}"
        return Verified((*done, Check("root keyring age", "ROOT_ROLLBACK", message)), None)
    return Verified(tuple(done), current)
