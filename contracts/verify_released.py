"""Verify a record of a released version, offline: through its engine manifest and root keys that the caller trusts.

The checks, in order: the root keyrings from the trusted one to the newest offered; the engine manifest; the
revocations; the record itself, with the manifest's key; and whether that version may have made it.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from contracts.checks import OPENING_CHECKS, Check, CheckFailed, collect_checks, open_envelope, read_payload
from contracts.engine_manifest import Revocation, RootKeyring
from contracts.metrics_record import MetricsRecord, Statement
from contracts.trust import Trust, TrustedKey
from contracts.verify import VerificationReport, verify_record
from contracts.verify_keyring import Verified, verify_keyring_chain
from contracts.verify_release import SignedManifest, verify_manifest, verify_revocation

__all__ = ["ReleaseEvidence", "claimed_version", "is_released", "judge_release", "verify_released_record"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ReleaseEvidence:
    """What comes with a record, from whoever: none of it is trusted for coming along."""

    manifest: bytes | None = None
    """The envelope of the version's manifest."""
    keyrings: tuple[bytes, ...] = ()
    """Envelopes of root keyrings, oldest first."""
    revocations: tuple[bytes, ...] = ()
    """Envelopes of revocations."""


def is_released(engine_version: str) -> bool:
    """Tell a released version from a development tree's."""
    return "+" not in engine_version


def _claim_steps(data: bytes) -> Generator[str, None, str]:
    _, payload = yield from open_envelope(data)
    return read_payload(Statement, payload).predicate.engine_version


def claimed_version(data: bytes) -> str | None:
    """Return the engine version that a record claims, so that its manifest can be looked for; nothing is verified."""
    return collect_checks((*OPENING_CHECKS, "record"), _claim_steps(data))[1]


def _check_record(record: MetricsRecord, release: SignedManifest) -> None:
    manifest = release.manifest
    version = manifest.engine_version
    if record.engine_version != version:
        detail = f"the record is of engine version {record.engine_version}, the manifest of {version}"
        raise CheckFailed("KEY_VERSION_MISMATCH", detail)
    if record.manifest != release.digest:
        raise CheckFailed("ID_MISMATCH", f"the record names another manifest than this one of {version}")
    if record.finished_at < manifest.created_at:
        detail = f"it ended at {record.finished_at}; {version} is of {manifest.created_at}"
        raise CheckFailed("OUT_OF_VALIDITY", detail)
    if record.plan.engine_version != version:
        # An execution that one version left behind is recorded as aborted by the next, which did not plan it.
        return
    if record.accepted_at < manifest.created_at:
        detail = f"it was accepted at {record.accepted_at}; {version} is of {manifest.created_at}"
        raise CheckFailed("OUT_OF_VALIDITY", detail)
    if record.plan.policies != manifest.policies:
        raise CheckFailed("ID_MISMATCH", f"the plan names policies that {version} does not consist of")
    if (record.plan.backend, record.plan.runtime_image) not in {(each.backend, each.image) for each in manifest.images}:
        raise CheckFailed("ID_MISMATCH", f"the plan names a runtime image that {version} does not consist of")


def judge_release(
    record: MetricsRecord, release: SignedManifest, revocations: Sequence[Revocation], ledger_index: int | None
) -> Check:
    """Tell whether a version may have made a record; both are verified already.

    Args:
        record: the record.
        release: the manifest of the version whose key signed it.
        revocations: verified ones, of any version.
        ledger_index: place of the record's leaf in the ledger, counted from 0; None where it is not known.
    """
    name = "release"
    try:
        _check_record(record, release)
    except CheckFailed as failure:
        return Check(name, failure.code, str(failure))
    version = release.manifest.engine_version
    for each in revocations:
        if each.engine_version != version:
            continue
        if ledger_index is None:
            message = f"{version} was revoked, and the record's place in the ledger is not known"
            return Check(name, "REVOKED", message)
        if ledger_index >= each.from_index:
            return Check(name, "REVOKED", f"{version} was revoked from ledger index {each.from_index} on")
    return Check(name, "OK", f"made by {version} of its own policies and images; no revocation at hand")


def _in_one(name: str, verified: Verified[_T], message: str) -> Check:
    failed = next((check for check in verified.checks if check.code != "OK"), None)
    return (
        Check(name, "OK", message) if failed is None else Check(name, failed.code, f"{failed.name}: {failed.message}")
    )


def _verify_evidence(
    evidence: ReleaseEvidence, root: RootKeyring, version: str, done: list[Check]
) -> tuple[SignedManifest, list[Revocation]] | None:
    chain = verify_keyring_chain(root, evidence.keyrings)
    done.extend(chain.checks)
    if chain.document is None:
        return None
    if evidence.manifest is None:
        done.append(Check("engine manifest", "UNTRUSTED_MANIFEST", f"there is none of {version}"))
        return None
    manifest = verify_manifest(evidence.manifest, chain.document)
    release = manifest.document
    done.append(_in_one("engine manifest", manifest, "" if release is None else release.digest))
    if release is None:
        return None
    revocations = []
    for data in evidence.revocations:
        revocation = verify_revocation(data, chain.document)
        done.append(_in_one("revocation", revocation, "signed by the root"))
        if revocation.document is None:
            return None
        revocations.append(revocation.document)
    return release, revocations


def verify_released_record(
    data: bytes, trust: Trust, evidence: ReleaseEvidence, *, ledger_index: int | None = None
) -> VerificationReport:
    """Verify a record of any version.

    A record of a released version is held against the manifest where the trust has a root; every other one against the
    keys of the trust, of which only those of development versions count where it has a root.

    Args:
        data: the envelope of the record.
        trust: the caller's.
        evidence: what came with the record.
        ledger_index: place of the record's leaf in the ledger, where the caller has verified it.

    Returns:
        A report; it never raises for a bad record.
    """
    if trust.root is None:
        return verify_record(data, trust)
    version = claimed_version(data)
    if version is None or not is_released(version):
        keys = tuple(key for key in trust.keys if not is_released(key.engine_version))
        return verify_record(data, trust.model_copy(update={"keys": keys}))
    done: list[Check] = []
    verified = _verify_evidence(evidence, trust.root, version, done)
    if verified is None:
        return VerificationReport(tuple(done), None)
    release, revocations = verified
    key = TrustedKey(engine_version=release.manifest.engine_version, public_key=release.manifest.public_key)
    report = verify_record(data, trust.model_copy(update={"keys": (key,)}))
    if report.verdict != "VALID" or report.record is None:
        return VerificationReport((*done, *report.checks), report.record)
    judged = judge_release(report.record, release, revocations, ledger_index)
    return VerificationReport((*done, *report.checks, judged), report.record)
