"""What an engine version consists of, and what root keys state about it: manifest, keyring, revocation."""

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

# Keys are checked where they are loaded; a faulty key has an error code of its own.
PublicKey = Annotated[str, StringConstraints(max_length=256)]
_FileName = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class SourceFile(Contract):
    """One file that can influence a result."""

    path: _FileName
    """Path of the file in the source tree, with `/` between its parts."""
    sha256: Digest
    """SHA-256 of the file's bytes."""


class ManifestSource(Contract):
    """The source of the version."""

    digest: Digest
    """SHA-256 of a sequence of digests. For each of `files`, in order, the sequence contains the SHA-256 of the path in
    UTF-8, then the SHA-256 of the file's bytes (32 bytes each)."""
    files: Annotated[Many[SourceFile], Field(min_length=1, max_length=4096)]
    """All files of `contracts/`, `policies/`, `runtime-image/` and `supervisor/`, sorted by the parts of their
    paths."""
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    """Commit of the repository that contains exactly these files, byte for byte."""


class ManifestImage(Contract):
    """The runtime image of one backend."""

    backend: BackendName
    """Name of the build of llama.cpp."""
    image: Digest
    """Digest of the image's configuration. Plans and records name the image by this digest."""
    manifest: Digest
    """SHA-256 of the list of files inside the image, `/opt/weos/manifest.json`."""
    inputs: Digest
    """Digest over all parts of the source from which the image is built."""


class LlamaCpp(Contract):
    """The llama.cpp in the images, compiled from one source archive."""

    package: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Name of the package whose source archive was compiled."""
    version: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Version of the package."""
    archive: Digest
    """SHA-256 of the archive."""
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")] | None
    """Commit of llama.cpp itself; null: not known, `commit_reason` says why."""
    commit_reason: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """Where the commit was found, or why it is not known."""


class Predecessor(Contract):
    """The version before this version."""

    engine_version: ReleaseVersion
    """The preceding version."""
    manifest: Digest
    """Digest of the engine manifest of that version."""


class EngineManifest(Contract):
    """What one engine version consists of. A version has exactly one manifest, a manifest exactly one version.

    The digest of a manifest is the SHA-256 of the signed payload: the in-toto Statement about the manifest, in RFC 8785
    form.
    """

    schema_version: Literal["weos.engine-manifest/1"]
    """Kind and version of this document."""
    engine_version: ReleaseVersion
    """The released version."""
    source: ManifestSource
    """The source of the version."""
    images: Annotated[Many[ManifestImage], Field(min_length=1, max_length=64)]
    """Runtime images, one for each backend. No other image runs under this version."""
    policies: dict[str, Digest]
    """Digest of every file of `policies/` that is read at start, by file name. Plans name the same digests."""
    schemas: dict[str, Digest]
    """Digest of every published JSON Schema and of the OpenAPI document, by path in `contracts/`."""
    llama_cpp: LlamaCpp
    """The llama.cpp that computes the tokens."""
    public_key: PublicKey
    """Public key of this version, which signs its records; no other version uses the key. Ed25519 SubjectPublicKeyInfo
    (DER) in base64."""
    predecessor: Predecessor | None
    """The preceding version; null: this is the first version."""
    validation: Digest
    """SHA-256 of the signed payload of the validation report, which this version's key signs."""
    comparison: Digest
    """SHA-256 of the signed payload of the comparison report, which this version's key signs. The report of the first
    version contains only its own figures."""
    created_at: Timestamp
    """Time at which the manifest was created, UTC. Nothing runs as this version before."""


class RootKey(Contract):
    """One root key, and the period in which it may sign."""

    public_key: PublicKey
    """Ed25519 SubjectPublicKeyInfo (DER) in base64. The SHA-256 of those bytes is the key's id."""
    valid_from: Timestamp
    """Start of the period, UTC: documents signed by this key must not be older."""
    valid_until: Timestamp | None
    """End of the period, UTC: documents signed by this key must not be younger; null: the key is in use."""


class RootKeyring(Contract):
    """The root keys. A new keyring is signed by keys of the preceding keyring and by its own keys."""

    MAX_BYTES: ClassVar[int] = 65_536

    schema_version: Literal["weos.root-keyring/1"]
    """Kind and version of this document."""
    version: Positive
    """Number of the keyring: 1 for the first, one more for each new keyring."""
    threshold: Annotated[int, Field(ge=1, le=16)]
    """Number of keys that must sign together."""
    keys: Annotated[Many[RootKey], Field(min_length=1, max_length=16)]
    """The keys. A replaced key stays, with the end of its period. A key that came into the wrong hands is left out."""
    valid_from: Timestamp
    """Time at which this keyring replaced the preceding keyring, UTC."""


class Revocation(Contract):
    """A version can no longer be relied on: from a place in the ledger on, its records are not valid."""

    MAX_BYTES: ClassVar[int] = 65_536

    schema_version: Literal["weos.revocation/1"]
    """Kind and version of this document."""
    engine_version: ReleaseVersion
    """The revoked version."""
    manifest: Digest
    """Digest of the engine manifest of that version."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Explanation for a person."""
    from_index: Count
    """Position of the first ledger entry that is no longer valid; 0 is the first entry. It applies to every ledger that
    is checked against this revocation. A record whose place is not known counts as revoked."""
    revoked_at: Timestamp
    """Time of the revocation, UTC."""


def version_order(version: str) -> tuple[int, ...]:
    """Return a key by which released versions are sorted."""
    return tuple(int(part) for part in version.split("."))


def digest_of_source(files: Iterable[SourceFile]) -> str:
    """Return the digest of a list of source files; see ``ManifestSource.digest``."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.path.encode("utf-8")).digest())
        digest.update(bytes.fromhex(file.sha256.removeprefix("sha256:")))
    return "sha256:" + digest.hexdigest()
