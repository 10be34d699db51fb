"""Verify what root keys and version keys say of a release, offline: manifest, revocation, the two reports.

Everything is held against a root keyring that the caller trusts. What a VALID manifest does not say: that its source
is free of faults, that a machine which claims to run it does run it, or that there is no second manifest of the same
version (compare its digest with others').
"""

from collections.abc import Callable, Generator
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
from contracts.verify.checks import OPENING_CHECKS, CheckFailed, Verified, collect_checks, open_envelope, read_payload
from contracts.verify.keyring import load_checked_key, require_root_signatures, require_valid_at
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import signature_holds

__all__ = [
    "MANIFEST_CHECKS",
    "REPORT_CHECKS",
    "REVOCATION_CHECKS",
    "SignedManifest",
    "verify_comparison",
    "verify_manifest",
    "verify_revocation",
    "verify_validation",
]
MANIFEST_CHECKS = (
    *OPENING_CHECKS,
    "signature count",
    "root signature",
    "manifest",
    "consistency",
    "validity",
    "version key",
)
REVOCATION_CHECKS = (*OPENING_CHECKS, "signature count", "root signature", "revocation", "consistency", "validity")
REPORT_CHECKS = (*OPENING_CHECKS, "signature count", "version signature", "report", "consistency", "result")

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
        raise CheckFailed("ID_MISMATCH", "the statement's subjects are not the source and images of its manifest")
    before = manifest.predecessor
    if before is not None and version_order(before.engine_version) >= version_order(manifest.engine_version):
        raise CheckFailed("ID_MISMATCH", "the predecessor is not an older version")


def _manifest_steps(data: bytes, keyring: RootKeyring) -> Generator[str, None, SignedManifest]:
    signatures, payload = yield from open_envelope(data)
    signers = yield from require_root_signatures(keyring, signatures, payload, otherwise="UNTRUSTED_MANIFEST")
    statement = read_payload(ManifestStatement, payload)
    manifest = statement.predicate
    yield f"{statement.predicateType} of {manifest.engine_version}, in RFC 8785 form"
    _check_manifest(statement)
    yield f"source digest recomputed from {len(manifest.source.files)} files; subjects agree"
    yield require_valid_at(signers, manifest.created_at, "the manifest")
    load_checked_key(manifest.public_key, "the version's key")
    yield "Ed25519"
    return SignedManifest(manifest, sha256_digest(payload))


def verify_manifest(data: bytes, keyring: RootKeyring) -> Verified[SignedManifest]:
    """Verify an engine manifest against root keys that the caller trusts.

    The codes: ``UNTRUSTED_MANIFEST`` for one that they did not sign, ``OUT_OF_VALIDITY``, ``SIGNATURE_COUNT``,
    ``WEAK_KEY``, ``ID_MISMATCH``, ``SCHEMA_VIOLATION``, ``UNSUPPORTED_TYPE``, ``OUT_OF_RANGE``, ``MALFORMED``,
    ``TOO_LARGE``. Whether the version was revoked is said by ``contracts.verify.speaker``.
    """
    return Verified(*collect_checks(MANIFEST_CHECKS, _manifest_steps(data, keyring)))


def _revocation_steps(data: bytes, keyring: RootKeyring) -> Generator[str, None, Revocation]:
    signatures, payload = yield from open_envelope(data)
    signers = yield from require_root_signatures(keyring, signatures, payload, otherwise="BAD_SIGNATURE")
    statement = read_payload(RevocationStatement, payload)
    revocation = statement.predicate
    yield f"{revocation.engine_version} from ledger index {revocation.from_index} on"
    if state_revocation(revocation) != statement:
        raise CheckFailed("ID_MISMATCH", "the statement's subject is not the manifest that is revoked")
    yield "subject agrees"
    yield require_valid_at(signers, revocation.revoked_at, "the revocation")
    return revocation


def verify_revocation(data: bytes, keyring: RootKeyring) -> Verified[Revocation]:
    """Verify a revocation against root keys that the caller trusts; ``BAD_SIGNATURE`` where they did not sign it."""
    return Verified(*collect_checks(REVOCATION_CHECKS, _revocation_steps(data, keyring)))


def _open_report(
    data: bytes, release: SignedManifest, kind: type[_Statement], digest: str, state: Callable[[_Statement], _Statement]
) -> Generator[str, None, _Statement]:
    signatures, payload = yield from open_envelope(data)
    if len(signatures) != 1:
        raise CheckFailed("SIGNATURE_COUNT", f"{len(signatures)} signatures; exactly one is expected")
    yield "exactly one"
    manifest = release.manifest
    if not signature_holds(load_checked_key(manifest.public_key, "the version's key"), signatures[0], payload):
        raise CheckFailed("BAD_SIGNATURE", f"not made by the key of {manifest.engine_version}")
    yield f"Ed25519, by the key of {manifest.engine_version}"
    statement = read_payload(kind, payload)
    yield f"{statement.predicateType}, in RFC 8785 form"
    candidate = statement.predicate.candidate
    if sha256_digest(payload) != digest:
        raise CheckFailed("ID_MISMATCH", "it is not the report that the manifest names")
    if (candidate.engine_version, candidate.source) != (manifest.engine_version, manifest.source.digest):
        raise CheckFailed("ID_MISMATCH", "it is about another version or source")
    if state(statement) != statement:
        raise CheckFailed("ID_MISMATCH", "the statement's subject is not the source")
    yield "the report that the manifest names, about its source"
    return statement


def _validation_steps(data: bytes, release: SignedManifest) -> Generator[str, None, ValidationReport]:
    statement = yield from _open_report(
        data, release, ValidationStatement, release.manifest.validation, lambda each: state_validation(each.predicate)
    )
    report = statement.predicate
    if report.failures:
        raise CheckFailed("VALIDATION_FAILED", "; ".join(report.failures))
    attempts = sum(each.attempts for each in report.escape)
    yield f"{len(report.conformance)} properties hold, {attempts} attacks came to what was expected"
    return report


def verify_validation(data: bytes, release: SignedManifest) -> Verified[ValidationReport]:
    """Verify a validation report against a manifest; ``VALIDATION_FAILED`` where something in it did not hold."""
    return Verified(*collect_checks(REPORT_CHECKS, _validation_steps(data, release)))


def _comparison_steps(data: bytes, release: SignedManifest) -> Generator[str, None, ComparisonReport]:
    statement = yield from _open_report(
        data, release, ComparisonStatement, release.manifest.comparison, lambda each: state_comparison(each.predicate)
    )
    report, before = statement.predicate, release.manifest.predecessor
    compared = None if report.predecessor is None else report.predecessor.engine_version
    if compared != (None if before is None else before.engine_version):
        raise CheckFailed("ID_MISMATCH", "report and manifest name different predecessors")
    yield "figures of the first version" if compared is None else f"compared with {compared}"
    return report


def verify_comparison(data: bytes, release: SignedManifest) -> Verified[ComparisonReport]:
    """Verify a comparison report against a manifest."""
    return Verified(*collect_checks(REPORT_CHECKS, _comparison_steps(data, release)))
