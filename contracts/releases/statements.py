"""in-toto Statements about releases: the payloads that root keys and version keys sign."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from contracts.execution.metrics_record import STATEMENT_TYPE
from contracts.releases.manifest import EngineManifest, Revocation, RootKeyring
from contracts.releases.reports import ComparisonReport, ValidationReport
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract, Many

__all__ = [
    "ComparisonStatement",
    "KeyringStatement",
    "ManifestStatement",
    "ReleaseStatement",
    "RevocationStatement",
    "ValidationStatement",
    "state_comparison",
    "state_keyring",
    "state_manifest",
    "state_revocation",
    "state_validation",
]


class ReleaseSubject(Contract):
    """One thing that the statement is about, named by its digest."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_/-]{0,127}$")]
    """`source`: the source tree. `runtime-image/BACKEND`: an image. `root-keyring`: the predicate in RFC 8785 form.
    `engine-manifest`: the signed payload of a manifest."""
    digest: dict[Literal["sha256"], Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]
    """SHA-256, as 64 hexadecimal digits."""


class ReleaseStatement(Contract):
    """in-toto Statement v1 about a release: the part that all kinds of release statements share."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    MAX_BYTES: ClassVar[int] = 4_194_304

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    """Fixed by in-toto."""
    subject: Annotated[Many[ReleaseSubject], Field(min_length=1, max_length=65)]
    """The things that the statement is about; they follow from the predicate."""

    def encode(self) -> bytes:
        """Return the RFC 8785 form: the bytes to sign."""
        return canonical_bytes(self.model_dump(mode="json", by_alias=True))


class ManifestStatement(ReleaseStatement):
    """The payload of an engine manifest; signed by root keys."""

    predicateType: Literal["urn:weos:engine:manifest:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: EngineManifest
    """The manifest."""


class KeyringStatement(ReleaseStatement):
    """The payload of a root keyring; signed by keys of the preceding keyring and by its own keys."""

    predicateType: Literal["urn:weos:engine:root-keyring:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: RootKeyring
    """The keyring."""


class RevocationStatement(ReleaseStatement):
    """The payload of a revocation; signed by root keys."""

    predicateType: Literal["urn:weos:engine:revocation:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: Revocation
    """The revocation."""


class ValidationStatement(ReleaseStatement):
    """The payload of a validation report; signed by the version's key."""

    predicateType: Literal["urn:weos:engine:validation-report:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: ValidationReport
    """The report."""


class ComparisonStatement(ReleaseStatement):
    """The payload of a comparison report; signed by the version's key."""

    predicateType: Literal["urn:weos:engine:comparison-report:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: ComparisonReport
    """The report."""


def _subject(name: str, digest: str) -> ReleaseSubject:
    return ReleaseSubject(name=name, digest={"sha256": digest.removeprefix("sha256:")})


def state_manifest(manifest: EngineManifest) -> ManifestStatement:
    """Return the statement about a manifest: its subjects are the source and the images."""
    images = (_subject(f"runtime-image/{each.backend}", each.image) for each in manifest.images)
    return ManifestStatement(
        type_=STATEMENT_TYPE,
        subject=(_subject("source", manifest.source.digest), *images),
        predicateType="urn:weos:engine:manifest:1",
        predicate=manifest,
    )


def state_keyring(keyring: RootKeyring) -> KeyringStatement:
    """Return the statement about a keyring: its subject is the keyring itself."""
    return KeyringStatement(
        type_=STATEMENT_TYPE,
        subject=(_subject("root-keyring", keyring.canonical_digest()),),
        predicateType="urn:weos:engine:root-keyring:1",
        predicate=keyring,
    )


def state_revocation(revocation: Revocation) -> RevocationStatement:
    """Return the statement about a revocation: its subject is the manifest."""
    return RevocationStatement(
        type_=STATEMENT_TYPE,
        subject=(_subject("engine-manifest", revocation.manifest),),
        predicateType="urn:weos:engine:revocation:1",
        predicate=revocation,
    )


def state_validation(report: ValidationReport) -> ValidationStatement:
    """Return the statement about a validation report: its subject is the source."""
    return ValidationStatement(
        type_=STATEMENT_TYPE,
        subject=(_subject("source", report.candidate.source),),
        predicateType="urn:weos:engine:validation-report:1",
        predicate=report,
    )


def state_comparison(report: ComparisonReport) -> ComparisonStatement:
    """Return the statement about a comparison report: its subject is the source."""
    return ComparisonStatement(
        type_=STATEMENT_TYPE,
        subject=(_subject("source", report.candidate.source),),
        predicateType="urn:weos:engine:comparison-report:1",
        predicate=report,
    )
