"""Signatures of models, made for tests as the reference tool `model-signing` makes them, and with faults on demand."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
AROUND_NOW = (NOW - 100 * DAY, NOW + 100 * DAY)
HASHES: dict[int, Any] = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def make_statement(files: dict[str, bytes]) -> dict[str, Any]:
    resources = [{"name": name, "algorithm": "sha256", "digest": sha256_of(files[name])} for name in sorted(files)]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": covering(resources)}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": resources,
        },
    }


def covering(resources: Iterable[dict[str, str]]) -> str:
    return sha256_of(b"".join(bytes.fromhex(each["digest"]) for each in resources))


def make_bundle(
    statement: dict[str, Any] | bytes, key: ec.EllipticCurvePrivateKey, chain: Iterable[x509.Certificate] = ()
) -> dict[str, Any]:
    payload = statement if isinstance(statement, bytes) else json.dumps(statement, indent=2).encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    certificates = [{"rawBytes": b64(each.public_bytes(Encoding.DER))} for each in chain]
    material: dict[str, Any] = {"publicKey": {"hint": sha256_of(public_pem(key))}}
    if certificates:
        material = {"x509CertificateChain": {"certificates": certificates}}
    signature = key.sign(signed, ec.ECDSA(HASHES[key.key_size]()))
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {**material, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": b64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": b64(signature), "keyid": ""}],
        },
    }


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def pem_of(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


@dataclass(frozen=True)
class Authority:
    """An authority that certifies signers of models."""

    key: Any
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str = "root", valid: tuple[datetime, datetime] = AROUND_NOW) -> "Authority":
        key = ec.generate_private_key(ec.SECP384R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        extensions = _authority_extensions(key.public_key(), key)
        return cls(key, _build(subject, subject, key.public_key(), key, extensions, valid))

    def certify_authority(self, name: str, *, key: Any = None) -> "Authority":
        key = key or ec.generate_private_key(ec.SECP384R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        extensions = [
            *_authority_extensions(key.public_key(), self.key),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
        ]
        return Authority(key, _build(subject, self.certificate.subject, key.public_key(), self.key, extensions))

    def certify(
        self,
        key: Any,
        *,
        names: Iterable[x509.GeneralName] = (),
        common_name: str | None = "signer",
        usage: x509.KeyUsage | None = None,
        purposes: Iterable[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
        further: Iterable[tuple[x509.ExtensionType, bool]] = (),
        valid: tuple[datetime, datetime] = (NOW - DAY, NOW + DAY),
    ) -> x509.Certificate:
        attributes = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        extensions: list[tuple[x509.ExtensionType, bool]] = [(authority_key, False)]
        if names := list(names):
            extensions.append((x509.SubjectAlternativeName(names), False))
        if usage is not None:
            extensions.append((usage, True))
        if purposes := list(purposes):
            extensions.append((x509.ExtendedKeyUsage(purposes), False))
        extensions.extend(further)
        issuer = self.certificate.subject
        return _build(x509.Name(attributes), issuer, key.public_key(), self.key, extensions, valid)


def key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_extensions(key: Any, issuer_key: Any) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (key_usage(key_cert_sign=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),
    ]


def _build(
    subject: x509.Name,
    issuer: x509.Name,
    key: Any,
    issuer_key: Any,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
    valid: tuple[datetime, datetime] = AROUND_NOW,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA384())
