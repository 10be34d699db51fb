"""Verify a signature of a model file: OpenSSF Model Signing v1.0, by a key or by an authority's certificate.

A verification reads no file and no clock::

    trust = TrustedKey.load(Path("signer.pem").read_bytes())
    signed = open_signature(Path("model.sig").read_bytes(), trust)
    signature = signed.vouch_for("sha256:...")

1. The bundle is one of version 0.3, and brings what the trust asks for: a key, or certificates.
2. The key signed exactly the payload; only then is the payload read.
3. The payload is a manifest of files, each with its SHA-256, and its subject's digest covers them all.
4. The file at hand is one of them, by content. Its name is not compared: a copy may have any name.

The signer of a directory vouches for each of its files, and a GGUF file is a model by itself. So a manifest of many
files is accepted where the file at hand is one of them; what else was signed need not be there.
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from contracts.execution.execution_plan import ModelSignature
from contracts.model_signing.certificates import TrustedAuthorities, certified_key
from contracts.model_signing.documents import Manifest, ManifestStatement, SignatureBundle, StatementHead
from contracts.model_signing.errors import ModelSignatureError
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import PAYLOAD_TYPE, decode_base64, pre_authentication_bytes
from contracts.wire.errors import ContractError
from contracts.wire.types import Digest

__all__ = ["SignedModel", "TrustedKey", "open_signature"]

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
EARLIER_PREDICATE_TYPE = "https://model_signing/Digests/v0.1"
SHA256_DIGITS = 64
# Each curve has its hash function, as in Sigstore's registry of algorithms (PKIX_ECDSA_P256_SHA_256 and so on).
_HASHES: dict[str, type[HashAlgorithm]] = {SECP256R1.name: SHA256, SECP384R1.name: SHA384, SECP521R1.name: SHA512}


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """The one key whose signature is accepted."""

    key: EllipticCurvePublicKey
    """A key on P-256, P-384 or P-521."""

    @classmethod
    def load(cls, pem: bytes) -> "TrustedKey":
        """Read a public key.

        Raises:
            ModelSignatureError: the text is no public key in PEM, or one of another kind.
        """
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ModelSignatureError("the file of --key holds no public key in PEM") from error
        return cls(_require_curve(key))


@dataclass(frozen=True, slots=True)
class SignedModel:
    """A manifest whose signature holds."""

    signature: ModelSignature
    """Who signed, and the digest of the bundle."""
    files: frozenset[Digest]
    """The SHA-256 of each signed file."""

    def vouch_for(self, file: Digest) -> ModelSignature:
        """Return the signature if it covers a file.

        Args:
            file: SHA-256 of the whole file.

        Raises:
            ModelSignatureError: the file is not one of those that were signed.
        """
        if file not in self.files:
            count = "another file" if len(self.files) == 1 else f"{len(self.files)} other files"
            detail = (
                f"the signature is of {count}, not of this one ({file}); get the file and its signature from "
                "the same place"
            )
            raise ModelSignatureError(detail)
        return self.signature


def open_signature(bundle: bytes, trust: TrustedKey | TrustedAuthorities) -> SignedModel:
    """Verify a signature, and return what it covers.

    Args:
        bundle: the signature file, a Sigstore bundle.
        trust: whose signature is accepted.

    Raises:
        ModelSignatureError: the bundle proves nothing; the message says why.
    """
    try:
        document = SignatureBundle.parse(bundle)
    except ContractError as error:
        raise ModelSignatureError(f"the signature is no Sigstore bundle ({error})") from error
    if document.mediaType != MEDIA_TYPE:
        raise ModelSignatureError(
            f"the signature's media type is not {MEDIA_TYPE}; sign with model-signing 1.0 or later"
        )
    key, signer = _signing_key(document, trust)
    payload = _signed_payload(document, key)
    manifest = _read_manifest(payload)
    signature = ModelSignature(signer=signer, bundle=sha256_digest(bundle))
    return SignedModel(signature=signature, files=frozenset(each.sha256 for each in manifest.resources))


def _require_curve(key: object) -> EllipticCurvePublicKey:
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise ModelSignatureError("the signer's key is on none of the curves P-256, P-384 and P-521")
    return key


def _decode(text: str, what: str) -> bytes:
    try:
        return decode_base64(text)
    except ContractError as error:
        raise ModelSignatureError(f"the {what} in the bundle is not canonical base64") from error


def _signing_key(
    document: SignatureBundle, trust: TrustedKey | TrustedAuthorities
) -> tuple[EllipticCurvePublicKey, str]:
    material = document.verificationMaterial
    if material.certificate is not None:
        detail = (
            "the signature was made without a lasting key, through Sigstore's own authority, which is not supported; "
            "ask for a signature by a key or by your authority's certificate"
        )
        raise ModelSignatureError(detail)
    chain = material.x509CertificateChain
    if (chain is None) == (material.publicKey is None):
        raise ModelSignatureError("the bundle must name either a public key or a certificate chain")
    if isinstance(trust, TrustedKey):
        if chain is not None:
            raise ModelSignatureError("a certificate signed, not a bare key; use --certificate-chain in place of --key")
        information = trust.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return trust.key, sha256_digest(information)
    if chain is None:
        raise ModelSignatureError("a bare key signed, not a certificate; use --key in place of --certificate-chain")
    key, identity = certified_key(tuple(_decode(each.rawBytes, "certificate") for each in chain.certificates), trust)
    return _require_curve(key), identity


def _signed_payload(document: SignatureBundle, key: EllipticCurvePublicKey) -> bytes:
    envelope = document.dsseEnvelope
    if envelope.payloadType != PAYLOAD_TYPE:
        raise ModelSignatureError(f"the payload type of the signature is not {PAYLOAD_TYPE}")
    if len(envelope.signatures) != 1:
        raise ModelSignatureError(f"the bundle has {len(envelope.signatures)} signatures; exactly one is expected")
    payload = _decode(envelope.payload, "payload")
    signature = _decode(envelope.signatures[0].sig, "signature")
    try:
        key.verify(signature, pre_authentication_bytes(PAYLOAD_TYPE, payload), ECDSA(_HASHES[key.curve.name]()))
    except InvalidSignature as error:
        detail = "the signature was made by another key, or its content was changed; check whose key you trust"
        raise ModelSignatureError(detail) from error
    return payload


def _read_manifest(payload: bytes) -> Manifest:
    try:
        head = StatementHead.parse(payload)
        _require_kind(head)
        statement = ManifestStatement.parse(payload)
    except ContractError as error:
        raise ModelSignatureError(f"what was signed is no manifest of a model ({error})") from error
    manifest = statement.predicate
    _require_sha256(manifest)
    if len({each.name for each in manifest.resources}) != len(manifest.resources):
        raise ModelSignatureError("the signed manifest names a file twice")
    if len(statement.subject) != 1:
        raise ModelSignatureError(
            f"the signed statement has {len(statement.subject)} subjects; exactly one is expected"
        )
    covered = hashlib.sha256(b"".join(bytes.fromhex(each.digest) for each in manifest.resources)).hexdigest()
    if statement.subject[0].digest.get("sha256") != covered:
        raise ModelSignatureError("the signed manifest contradicts itself: its digest is not that of its files")
    return manifest


def _require_kind(head: StatementHead) -> None:
    if head.type != STATEMENT_TYPE:
        raise ModelSignatureError(f"what was signed is not an in-toto statement of the type {STATEMENT_TYPE}")
    if head.predicateType == EARLIER_PREDICATE_TYPE:
        raise ModelSignatureError("the signature is of a format before 1.0; sign again with model-signing 1.0 or later")
    if head.predicateType != PREDICATE_TYPE:
        raise ModelSignatureError(f"what was signed is no manifest of a model: its predicate is not {PREDICATE_TYPE}")


def _require_sha256(manifest: Manifest) -> None:
    method = manifest.serialization
    if method.method != "files":
        raise ModelSignatureError("the signature is of parts of files, not of whole files; sign again without shards")
    found = {method.hash_type, *(each.algorithm for each in manifest.resources)}
    if found != {"sha256"} or any(len(each.digest) != SHA256_DIGITS for each in manifest.resources):
        raise ModelSignatureError("the signed digests are not all SHA-256; sign again with SHA-256, the default")
