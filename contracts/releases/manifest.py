"""What one engine version consists of, by digest, and what the root keys say of it: manifest, keyring, revocation."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from contracts.wire.document import Contract, Many
from contracts.wire.types import BackendName, Count, Digest, Positive, ReleaseVersion, Timestamp

__all__ = [
    "EngineManifest",
    "LlamaCpp",
    "ManifestImage",
    "ManifestSource",
    "Predecessor",
    "Revocation",
    "RootKey",
    "RootKeyring",
    "SourceFile",
    "digest_of_source",
    "version_order",
]

# What Ed25519 public keys look like is judged where they are loaded, with a code of its own.
PublicKey = Annotated[str, StringConstraints(max_length=256)]
_FileName = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class SourceFile(Contract):
    """One file that shapes a result."""

    path: _FileName
    """Its place in the source tree, with `/` between the parts."""
    sha256: Digest
    """Digest of its bytes."""


class ManifestSource(Contract):
    """The source that the version is."""

    digest: Digest
    """SHA-256 over, for each of `files` in order, the SHA-256 of its path in UTF-8 and the SHA-256 of its bytes (32
    bytes each)."""
    files: Annotated[Many[SourceFile], Field(min_length=1, max_length=4096)]
    """Every file of `contracts/`, `policies/`, `runtime-image/` and `supervisor/`, sorted by the parts of its path."""
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    """The commit of the repository that these files are, byte for byte."""


class ManifestImage(Contract):
    """One runtime image."""

    backend: BackendName
    """The build of llama.cpp."""
    image: Digest
    """The image, by the digest of its configuration: the id that plans and records name."""
    manifest: Digest
    """Digest of the image's own list of its files, `/opt/weos/manifest.json`."""
    inputs: Digest
    """Digest over everything in the source that the image is made from."""


class LlamaCpp(Contract):
    """The llama.cpp in the images, compiled from one source archive."""

    package: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """The package whose archive was compiled."""
    version: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Its version."""
    archive: Digest
    """Digest of the archive."""
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")] | None
    """Commit of llama.cpp itself; null: see `commit_reason`."""
    commit_reason: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """Where the commit was found, or why it is not known."""


class Predecessor(Contract):
    """The version before this one."""

    engine_version: ReleaseVersion
    """Its version."""
    manifest: Digest
    """Digest of its engine manifest."""


class EngineManifest(Contract):
    """What one engine version consists of. One version has one manifest, and one manifest one version.

    The digest of a manifest is the SHA-256 of the signed payload: the in-toto Statement about it in RFC 8785 form.
    """

    schema_version: Literal["weos.engine-manifest/1"]
    """Kind and version of this document."""
    engine_version: ReleaseVersion
    """The version."""
    source: ManifestSource
    """The source tree."""
    images: Annotated[Many[ManifestImage], Field(min_length=1, max_length=64)]
    """Runtime images, by backend; no other runs under this version."""
    policies: dict[str, Digest]
    """Every file of `policies/` that is read at start, by the digest that plans name."""
    schemas: dict[str, Digest]
    """Every published JSON Schema and the OpenAPI document, by its path in `contracts/`."""
    llama_cpp: LlamaCpp
    """What computes the tokens."""
    public_key: PublicKey
    """Ed25519 SubjectPublicKeyInfo (DER) in base64 of the key that this version, and no other, signs with."""
    predecessor: Predecessor | None
    """The version before it; null: this is the first."""
    validation: Digest
    """Digest of the validation report's signed payload; the report is signed with this version's key."""
    comparison: Digest
    """Digest of the comparison report's signed payload, likewise. The first version's holds its own figures only."""
    created_at: Timestamp
    """When the manifest was made, UTC; nothing runs as this version before."""


class RootKey(Contract):
    """One root key and when it may sign."""

    public_key: PublicKey
    """Ed25519 SubjectPublicKeyInfo (DER) in base64; its id is the SHA-256 of those bytes."""
    valid_from: Timestamp
    """What it signs is not older than this, UTC."""
    valid_until: Timestamp | None
    """What it signs is not younger than this, UTC; null: it is in use."""


class RootKeyring(Contract):
    """The root keys. A new keyring is signed by keys of the one before and by its own."""

    MAX_BYTES: ClassVar[int] = 65_536

    schema_version: Literal["weos.root-keyring/1"]
    """Kind and version of this document."""
    version: Positive
    """1 for the first; each new one counts one further."""
    threshold: Annotated[int, Field(ge=1, le=16)]
    """How many of the keys sign together."""
    keys: Annotated[Many[RootKey], Field(min_length=1, max_length=16)]
    """The keys. One that was replaced stays, with the end of its time; one that was lost to somebody is left out."""
    valid_from: Timestamp
    """When this keyring took the place of the one before, UTC."""


class Revocation(Contract):
    """A version is not to be relied on: its records are not valid from a place in the ledger on."""

    MAX_BYTES: ClassVar[int] = 65_536

    schema_version: Literal["weos.revocation/1"]
    """Kind and version of this document."""
    engine_version: ReleaseVersion
    """The version."""
    manifest: Digest
    """Digest of its manifest."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Why, for people."""
    from_index: Count
    """Index of the first leaf in the ledger that is no longer valid, counted from 0 in each ledger that it is held
    against. A record whose place is not known counts as revoked."""
    revoked_at: Timestamp
    """When this was stated, UTC."""


def version_order(version: str) -> tuple[int, ...]:
    """Return what released versions are ordered by."""
    return tuple(int(part) for part in version.split("."))


def digest_of_source(files: Iterable[SourceFile]) -> str:
    """Return the digest that a manifest has of its source; see ``ManifestSource.digest``."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.path.encode("utf-8")).digest())
        digest.update(bytes.fromhex(file.sha256.removeprefix("sha256:")))
    return "sha256:" + digest.hexdigest()
