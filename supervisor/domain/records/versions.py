"""Engine versions: their content, their predecessor, and whether an installation still matches its version."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contracts.releases.manifest import (
    EngineManifest,
    LlamaCpp,
    ManifestImage,
    ManifestSource,
    Predecessor,
    SourceFile,
    digest_of_source,
    version_order,
)
from contracts.verify.release import SignedManifest
from contracts.wire.types import Digest
from supervisor.domain.errors import EngineError

__all__ = [
    "Content",
    "Drift",
    "build_manifest",
    "choose_images",
    "describe_drift",
    "find_drift",
    "find_predecessor",
]

NOTHING = "nothing"
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Content:
    """The current content of an installation, by digest."""

    engine_version: str
    """The version that the source states."""
    files: tuple[SourceFile, ...]
    images: tuple[ManifestImage, ...]
    stale_images: frozenset[str]
    """Backends whose image was built from another source."""
    llama_cpp: LlamaCpp | None
    """The llama.cpp that the images were compiled from; None means that there is no image."""
    policies: Mapping[str, Digest]
    schemas: Mapping[str, Digest]

    @property
    def source_digest(self) -> Digest:
        """The digest of all files."""
        return digest_of_source(self.files)


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between a manifest and an installation."""

    subject: str
    expected: str
    found: str


def _compare(prefix: str, expected: Mapping[str, str], found: Mapping[str, str]) -> Iterable[Drift]:
    for name in sorted(expected.keys() | found.keys()):
        here, there = expected.get(name, NOTHING), found.get(name, NOTHING)
        if here != there:
            yield Drift(prefix + name, here, there)


def _image_fields(image: ManifestImage) -> dict[str, str]:
    return {
        f"runtime image {image.backend}": image.image,
        f"files of runtime image {image.backend}": image.manifest,
        f"inputs of runtime image {image.backend}": image.inputs,
    }


def find_drift(manifest: EngineManifest, content: Content) -> tuple[Drift, ...]:
    """Return every difference between a version and an installation that claims to be it.

    Images of backends that the manifest does not name are ignored: this version does not have these backends.
    """
    named = {image.backend for image in manifest.images}
    found_images = [image for image in content.images if image.backend in named]
    drifts = [
        *_compare("", {"version": manifest.engine_version}, {"version": content.engine_version}),
        *_compare(
            "",
            {file.path: file.sha256 for file in manifest.source.files},
            {file.path: file.sha256 for file in content.files},
        ),
        *_compare("policies/", manifest.policies, content.policies),
        *_compare("contracts/", manifest.schemas, content.schemas),
        *_compare(
            "",
            {name: value for image in manifest.images for name, value in _image_fields(image).items()},
            {name: value for image in found_images for name, value in _image_fields(image).items()},
        ),
        *_compare(
            "",
            {"llama.cpp": manifest.llama_cpp.archive},
            {"llama.cpp": NOTHING if content.llama_cpp is None else content.llama_cpp.archive},
        ),
    ]
    # A policy is also a file of the source; it is reported once.
    return tuple({drift.subject: drift for drift in drifts}.values())


def describe_drift(drifts: tuple[Drift, ...]) -> str:
    """Return the differences in one line."""
    shown = [f"{each.subject}: expected {each.expected}, found {each.found}" for each in drifts[:SHOWN]]
    more = [f"and {len(drifts) - SHOWN} more"] if len(drifts) > SHOWN else []
    return "; ".join([*shown, *more])


def find_predecessor(releases: Iterable[SignedManifest], engine_version: str) -> SignedManifest | None:
    """Return the newest release older than a version, or None if there is none.

    Raises:
        EngineError: ``release_exists`` if this version is already released.
    """
    order = version_order(engine_version)
    older = None
    for release in sorted(releases, key=lambda each: version_order(each.manifest.engine_version)):
        if release.manifest.engine_version == engine_version:
            detail = f"version {engine_version} is already released and cannot change; choose the next version number"
            raise EngineError("release_exists", detail)
        if version_order(release.manifest.engine_version) < order:
            older = release
    return older


def choose_images(content: Content, backends: Iterable[str]) -> tuple[tuple[ManifestImage, ...], LlamaCpp]:
    """Return the images of a version, sorted by backend, and the llama.cpp they were compiled from.

    Raises:
        EngineError: ``image_missing`` if a backend has no image that was built from this source.
    """
    images = {image.backend: image for image in content.images if image.backend not in content.stale_images}
    names = sorted(set(backends))
    missing = [name for name in names if name not in images]
    if missing or not names or content.llama_cpp is None:
        what = ", ".join(missing) or "any backend"
        detail = f"no runtime image of {what} was built from this source; build it with: weos-engine images build"
        raise EngineError("image_missing", detail)
    return tuple(images[name] for name in names), content.llama_cpp


def build_manifest(
    content: Content,
    *,
    commit: str,
    backends: Iterable[str],
    public_key: str,
    predecessor: SignedManifest | None,
    validation: Digest,
    comparison: Digest,
    created_at: str,
) -> EngineManifest:
    """Return the manifest of an installation's version.

    Args:
        content: the installation.
        commit: the repository's commit of the source.
        backends: the backends whose images belong to the version.
        public_key: the version's own key.
        predecessor: the version before.
        validation: digest of the validation report's signed payload.
        comparison: digest of the comparison report's signed payload.
        created_at: current time.

    Raises:
        EngineError: ``image_missing`` if a backend has no image that was built from this source.
    """
    images, llama_cpp = choose_images(content, backends)
    return EngineManifest(
        schema_version="weos.engine-manifest/1",
        engine_version=content.engine_version,
        source=ManifestSource(digest=content.source_digest, files=content.files, commit=commit),
        images=images,
        policies=dict(content.policies),
        schemas=dict(content.schemas),
        llama_cpp=llama_cpp,
        public_key=public_key,
        predecessor=None
        if predecessor is None
        else Predecessor(engine_version=predecessor.manifest.engine_version, manifest=predecessor.digest),
        validation=validation,
        comparison=comparison,
        created_at=created_at,
    )
