"""The documents of OpenSSF Model Signing v1.0: a Sigstore bundle, its envelope, and the manifest of a model's files.

The signed manifest may have further fields: version 1.0 of its predicate says that a verifier passes over them. The
bundle around it is not signed, so what is not read there proves nothing either way.

Sources: the format's description and the reference implementation, github.com/sigstore/model-transparency; the bundle,
github.com/sigstore/protobuf-specs (`sigstore_bundle.proto`); in-toto Statement v1.
"""

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from contracts.wire.document import Contract, Many
from contracts.wire.types import Digest

__all__ = ["MAX_BUNDLE_BYTES", "Manifest", "ManifestStatement", "Resource", "SignatureBundle", "StatementHead"]

# A directory of 10,000 files has a manifest of some 2 MB.
MAX_BUNDLE_BYTES = 4_194_304
MAX_CERTIFICATES = 8
MAX_CERTIFICATE_CHARACTERS = 32_768
# A DER signature of P-521 has at most 141 bytes.
MAX_SIGNATURE_CHARACTERS = 256
MAX_NAME_CHARACTERS = 4096


class _Open(Contract):
    """A document of another project, of which the engine reads some fields."""

    model_config = ConfigDict(extra="ignore")

    MAX_BYTES: ClassVar[int] = MAX_BUNDLE_BYTES


class _Certificate(_Open):
    """An X.509 certificate."""

    rawBytes: Annotated[str, Field(max_length=MAX_CERTIFICATE_CHARACTERS)]  # noqa: N815 - the bundle's name
    """DER in base64."""


class _CertificateChain(_Open):
    """The signer's certificate, then those that lead to an authority."""

    certificates: Annotated[Many[_Certificate], Field(min_length=1, max_length=MAX_CERTIFICATES)]
    """The signer's certificate comes first."""


class _VerificationMaterial(_Open):
    """What the signer says about the key; exactly one of the three."""

    publicKey: dict[str, Any] | None = None  # noqa: N815 - the bundle's name
    """A hint about a public key; it is never used, because it is not signed."""
    x509CertificateChain: _CertificateChain | None = None  # noqa: N815 - the bundle's name
    """Certificates of an authority that the verifier trusts."""
    certificate: dict[str, Any] | None = None
    """A certificate of Sigstore's own authority, valid for ten minutes."""


class _Signature(_Open):
    """A signature over the envelope's payload."""

    sig: Annotated[str, Field(max_length=MAX_SIGNATURE_CHARACTERS)]
    """ECDSA signature in DER, in base64."""


class _Envelope(_Open):
    """A DSSE envelope."""

    payload: Annotated[str, Field(max_length=MAX_BUNDLE_BYTES)]
    """The signed bytes in base64: an in-toto Statement."""
    payloadType: Annotated[str, Field(max_length=128)]  # noqa: N815 - DSSE's name
    """Media type of the payload."""
    signatures: Annotated[Many[_Signature], Field(max_length=16)]
    """Exactly one signature."""


class SignatureBundle(_Open):
    """A Sigstore bundle."""

    mediaType: Annotated[str, Field(max_length=128)]  # noqa: N815 - the bundle's name
    """Names the version of the bundle."""
    verificationMaterial: _VerificationMaterial  # noqa: N815 - the bundle's name
    """What the signer says about the key."""
    dsseEnvelope: _Envelope  # noqa: N815 - the bundle's name
    """The signed statement."""


class StatementHead(_Open):
    """What kind of statement was signed; read before the rest of it."""

    type: Annotated[str, Field(alias="_type", max_length=256)]
    """Version of the statement's form."""
    predicateType: Annotated[str, Field(max_length=256)]  # noqa: N815 - in-toto's name
    """Kind and version of the predicate."""


class _Subject(_Open):
    """The model as a whole."""

    name: Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
    """Name of the signed file or directory."""
    digest: dict[str, str]
    """Under `sha256`: SHA-256 over the digests of all resources, as bytes, in the manifest's order."""


class _Serialization(_Open):
    """How the digests of the resources were made."""

    method: Annotated[str, Field(max_length=64)]
    """`files`: a resource is a whole file."""
    hash_type: Annotated[str, Field(max_length=64)]
    """The hash function; only `sha256` is verified."""


class Resource(_Open):
    """One signed file."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
    """Path within the signed directory; `.` where a single file was signed."""
    algorithm: Annotated[str, Field(max_length=64)]
    """The hash function of this file."""
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2,128}$")]
    """Digest in hexadecimal."""

    @property
    def sha256(self) -> Digest:
        """The digest as the engine writes it, where the hash function is SHA-256."""
        return f"sha256:{self.digest}"


class Manifest(_Open):
    """The files of a model."""

    serialization: _Serialization
    """How the digests were made."""
    resources: Annotated[Many[Resource], Field(min_length=1)]
    """The signed files."""


class ManifestStatement(_Open):
    """The signed statement about a model."""

    subject: Annotated[Many[_Subject], Field(max_length=16)]
    """Exactly one: the model as a whole."""
    predicate: Manifest
    """The files of the model."""
