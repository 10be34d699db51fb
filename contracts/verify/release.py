"""Verify the signed documents of a release, offline: manifest, revocation and the two reports.

Everything is verified against a root keyring that the caller trusts. A VALID manifest does not say that its source has
no faults, or that a machine runs it. It does not exclude a second manifest of the same version: compare its digest with
the digest that others have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from contracts.releases.manifest import EngineManifest, Revocation, RootKeyring, digest_of_source, version_order
from contracts.releases.reports import ComparisonReport, ValidationReport
from contracts.releases.statements import (
    ComparisonStatement,
    ManifestStatement,
    RevocationStatement,
    ValidationStatement,
    state_comparison,
    state_manifest,
    state_revocation,
    state_validation,
)
from contracts.verify.checks import CheckFailed, Checks, Verified, open_envelope, read_payload, run_checks
from contracts.verify.keyring import check_root_signatures, load_checked_key, require_valid_at
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import signature_holds

__all__ = [
    "SignedManifest",
    "verify_comparison",
    "verify_manifest",
    "verify_revocation",
    "verify_validation",
]

_Statement = TypeVar("_Statement", ValidationStatement, ComparisonStatement)


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest that root keys signed."""

    manifest: EngineManifest
    digest: str
    """SHA-256 of the signed payload: the manifest's digest."""


def _check_manifest(statement: ManifestStatement) -> None:
    manifest = statement.predicate
    if digest_of_source(manifest.source.files) != manifest.source.digest:
        raise CheckFailed("ID_MISMATCH", "source.digest is not the digest of source.files")
    if len({each.backend for each in manifest.images}) != len(manifest.images):
        raise CheckFailed("ID_MISMATCH", "a backend has two images")
    if state_manifest(manifest) != statement:
        raise CheckFailed("ID_MISMATCH", "the statement's subjects are not the source and images in its manifest")
    before = manifest.predecessor
    if before is not None and version_order(before.engine_version) >= version_order(manifest.engine_version):
        raise CheckFailed("ID_MISMATCH", "the predecessor is not an older version")


def _open_manifest(checks: Checks, data: bytes, keyring: RootKeyring) -> SignedManifest:
    signatures, payload = open_envelope(checks, data)
    signers = check_root_signatures(checks, keyring, signatures, payload, otherwise="UNTRUSTED_MANIFEST")
    checks.begin("manifest")
    statement = read_payload(ManifestStatement, payload)
    manifest = statement.predicate
    checks.hold(f"{statement.predicateType} of {manifest.engine_version}, in RFC 8785 form")
    checks.begin("consistency")
    _check_manifest(statement)
    checks.hold(f"source digest recomputed from {len(manifest.source.files)} files; subjects agree")
    checks.begin("validity")
    checks.hold(require_valid_at(signers, manifest.created_at, "the manifest"))
    checks.begin("version key")
    load_checked_key(manifest.public_key, "the version's key")
    checks.hold("Ed25519")
    return SignedManifest(manifest, sha256_digest(payload))


def verify_manifest(data: bytes, keyring: RootKeyring) -> Verified[SignedManifest]:
    """Verify an engine manifest against root keys that the caller trusts.

    Codes: ``UNTRUSTED_MANIFEST`` if the root keys did not sign it, ``OUT_OF_VALIDITY``, ``SIGNATURE_COUNT``,
    ``WEAK_KEY``, ``ID_MISMATCH``, ``SCHEMA_VIOLATION``, ``UNSUPPORTED_TYPE``, ``OUT_OF_RANGE``, ``MALFORMED``,
    ``TOO_LARGE``. ``contracts.verify.speaker`` decides whether the version was revoked.
    """
    return run_checks(_open_manifest, data, keyring)


def _open_revocation(checks: Checks, data: bytes, keyring: RootKeyring) -> Revocation:
    signatures, payload = open_envelope(checks, data)
    signers = check_root_signatures(checks, keyring, signatures, payload, otherwise="BAD_SIGNATURE")
    checks.begin("revocation")
    statement = read_payload(RevocationStatement, payload)
    revocation = statement.predicate
    checks.hold(f"{revocation.engine_version} from ledger index {revocation.from_index} on")
    checks.begin("consistency")
    if state_revocation(revocation) != statement:
        raise CheckFailed("ID_MISMATCH", "the statement's subject is not the revoked manifest")
    checks.hold("subject agrees")
    checks.begin("validity")
    checks.hold(require_valid_at(signers, revocation.revoked_at, "the revocation"))
    return revocation


def verify_revocation(data: bytes, keyring: RootKeyring) -> Verified[Revocation]:
    """Verify a revocation against root keys that the caller trusts; ``BAD_SIGNATURE`` if they did not sign it."""
    return run_checks(_open_revocation, data, keyring)


def _open_report(
    checks: Checks,
    data: bytes,
    release: SignedManifest,
    kind: type[_Statement],
    digest: str,
    state: Callable[[_Statement], _Statement],
) -> _Statement:
    signatures, payload = open_envelope(checks, data)
    checks.begin("signature count")
    if len(signatures) != 1:
        raise CheckFailed("SIGNATURE_COUNT", f"{len(signatures)} signatures; exactly one is expected")
    checks.hold("exactly one")
    checks.begin("version signature")
    manifest = release.manifest
    if not signature_holds(load_checked_key(manifest.public_key, "the version's key"), signatures[0], payload):
        raise CheckFailed("BAD_SIGNATURE", f"not made by the key of {manifest.engine_version}")
    checks.hold(f"Ed25519, by the key of {manifest.engine_version}")
    checks.begin("report")
    statement = read_payload(kind, payload)
    checks.hold(f"{statement.predicateType}, in RFC 8785 form")
    checks.begin("consistency")
    candidate = statement.predicate.candidate
    if sha256_digest(payload) != digest:
        raise CheckFailed("ID_MISMATCH", "it is not the report named in the manifest")
    if (candidate.engine_version, candidate.source) != (manifest.engine_version, manifest.source.digest):
        raise CheckFailed("ID_MISMATCH", "it is about another version or source")
    if state(statement) != statement:
        raise CheckFailed("ID_MISMATCH", "the statement's subject is not the source")
    checks.hold("the report named in the manifest, about its source")
    return statement


def _open_validation(checks: Checks, data: bytes, release: SignedManifest) -> ValidationReport:
    digest = release.manifest.validation
    statement = _open_report(
        checks, data, release, ValidationStatement, digest, lambda each: state_validation(each.predicate)
    )
    checks.begin("result")
    report = statement.predicate
    if report.failures:
        raise CheckFailed("VALIDATION_FAILED", "; ".join(report.failures))
    attempts = sum(each.attempts for each in report.escape)
    checks.hold(f"{len(report.conformance)} properties hold; {attempts} attacks had the expected outcome")
    return report


def verify_validation(data: bytes, release: SignedManifest) -> Verified[ValidationReport]:
    """Verify a validation report against a manifest; ``VALIDATION_FAILED`` if a property or an attack failed."""
    return run_checks(_open_validation, data, release)


def _open_comparison(checks: Checks, data: bytes, release: SignedManifest) -> ComparisonReport:
    digest = release.manifest.comparison
    statement = _open_report(
        checks, data, release, ComparisonStatement, digest, lambda each: state_comparison(each.predicate)
    )
    checks.begin("result")
    report, before = statement.predicate, release.manifest.predecessor
    compared = None if report.predecessor is None else report.predecessor.engine_version
    if compared != (None if before is None else before.engine_version):
        raise CheckFailed("ID_MISMATCH", "report and manifest name different predecessors")
    checks.hold("figures of the first version" if compared is None else f"compared with {compared}")
    return report


def verify_comparison(data: bytes, release: SignedManifest) -> Verified[ComparisonReport]:
    """Verify a comparison report against a manifest."""
    return run_checks(_open_comparison, data, release)
