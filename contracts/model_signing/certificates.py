"""Whom a certificate of a signer names, and whether a trusted authority certified it. Pure: the time is passed in."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from contracts.model_signing.errors import ModelSignatureError

__all__ = ["MAX_AUTHORITIES_BYTES", "TrustedAuthorities", "certified_key"]

MAX_AUTHORITIES_BYTES = 1_048_576
MAX_IDENTITY_CHARACTERS = 256
_MALFORMED = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_SIGNING_PURPOSES = frozenset({ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


@dataclass(frozen=True, slots=True)
class TrustedAuthorities:
    """The authorities that may certify a signer."""

    certificates: tuple[x509.Certificate, ...]
    """Their certificates; each ends a chain."""
    identity: str | None
    """The only accepted signer; None: every signer that an authority certified."""
    now: datetime
    """Time at which all certificates must be valid; aware."""

    @classmethod
    def load(cls, pem: bytes, *, identity: str | None, now: datetime) -> "TrustedAuthorities":
        """Read the authorities' certificates.

        Raises:
            ModelSignatureError: the text holds no certificate, or a damaged one.
        """
        if len(pem) > MAX_AUTHORITIES_BYTES:
            raise ModelSignatureError(f"the authorities' file is larger than {MAX_AUTHORITIES_BYTES} bytes")
        try:
            certificates = x509.load_pem_x509_certificates(pem)
        except _MALFORMED as error:
            raise ModelSignatureError("the authorities' file holds no certificate in PEM, or a damaged one") from error
        return cls(certificates=tuple(certificates), identity=identity, now=now)


def certified_key(chain: tuple[bytes, ...], trusted: TrustedAuthorities) -> tuple[CertificatePublicKeyTypes, str]:
    """Return the public key of the chain's first certificate, and the identity that an authority certified for it.

    The chain must hold at ``trusted.now``. A bundle says nothing that could be trusted about the time of signing, so a
    key whose certificate has expired may have been used by anybody who found it since. Revocation lists are not read.

    Args:
        chain: certificates in DER, the signer's first.
        trusted: the authorities, and the signer to expect.

    Raises:
        ModelSignatureError: no authority certified the key for signing, or it certified another signer.
    """
    try:
        signer, *others = (x509.load_der_x509_certificate(each) for each in chain)
        _require_valid(signer, trusted.now)
        _require_chain(signer, others, trusted)
        _require_signing_purpose(signer)
        return signer.public_key(), _choose_identity(_identities(signer), trusted.identity)
    except _MALFORMED as error:
        raise ModelSignatureError("the bundle holds a certificate that cannot be read; ask for a new one") from error


def _require_valid(signer: x509.Certificate, now: datetime) -> None:
    if now > signer.not_valid_after_utc:
        day = signer.not_valid_after_utc.date()
        detail = (
            f"the signer's certificate expired on {day}, and nothing proves that the signature is older; ask for a "
            "new signature, or trust the key itself with --key"
        )
        raise ModelSignatureError(detail)
    if now < signer.not_valid_before_utc:
        day = signer.not_valid_before_utc.date()
        raise ModelSignatureError(f"the signer's certificate is valid from {day} only; check this host's clock")


def _any_purpose(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None, /) -> None:
    """Accept an authority for every purpose; the purpose of the signer's own certificate is checked apart."""


def _require_chain(signer: x509.Certificate, others: list[x509.Certificate], trusted: TrustedAuthorities) -> None:
    # The library's rules for authorities, but for the purpose: it knows those of TLS alone.
    authority = ExtensionPolicy.webpki_defaults_ca().may_be_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _any_purpose
    )
    verifier = (
        PolicyBuilder()
        .store(Store(list(trusted.certificates)))
        .time(trusted.now)
        .extension_policies(ca_policy=authority, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        verifier.verify(signer, others)
    except VerificationError as error:
        detail = (
            "no authority of --certificate-chain certified the signer, or a certificate of the chain has expired or "
            "says something critical that is not understood; check that the file holds the signer's authority"
        )
        raise ModelSignatureError(detail) from error


def _require_signing_purpose(signer: x509.Certificate) -> None:
    usage: x509.KeyUsage | None = None
    purposes: x509.ExtendedKeyUsage | None = None
    for extension in signer.extensions:
        if isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            purposes = extension.value
    # RFC 5280, 4.2.1.12: where both are there, the use must be consistent with both.
    if (
        (usage is None and purposes is None)
        or (usage is not None and not usage.digital_signature)
        or (purposes is not None and not _SIGNING_PURPOSES.intersection(purposes))
    ):
        raise ModelSignatureError("the signer's certificate was not made for signing code; ask for one that is")


def _identities(signer: x509.Certificate) -> tuple[str, ...]:
    try:
        names = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        named: list[str] = []
    else:
        named = [
            *names.get_values_for_type(x509.RFC822Name),
            *names.get_values_for_type(x509.UniformResourceIdentifier),
            *names.get_values_for_type(x509.DNSName),
        ]
    if not named:
        named = [signer.subject.rfc4514_string()]
    return tuple(named)


def _choose_identity(identities: tuple[str, ...], expected: str | None) -> str:
    for identity in identities:
        # The record shows a key by its digest; a certificate must not pass for one.
        if (
            not 0 < len(identity) <= MAX_IDENTITY_CHARACTERS
            or not identity.isprintable()
            or identity.startswith("sha256:")
        ):
            raise ModelSignatureError("the signer's certificate names nobody, or a name that cannot be shown")
    if expected is not None and expected not in identities:
        detail = f"the signer is {' or '.join(identities)}, not {expected}; check --identity"
        raise ModelSignatureError(detail)
    if expected is None and len(identities) > 1:
        detail = f"the signer has several names ({', '.join(identities)}); say which one you trust with --identity"
        raise ModelSignatureError(detail)
    return identities[0] if expected is None else expected
