"""Decide which keys may sign for an engine version, and verify a record of a released version with them.

A released version has an engine manifest, signed by root keys that the caller trusts. The checks are, in order: the
root keyrings, from the trusted one to the newest offered; the engine manifest; the revocations; the record itself, with
the manifest's key; and whether that version may have made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord, Statement
from contracts.releases.manifest import Revocation, RootKeyring
from contracts.verify.checks import CheckFailed, Checks, Verified, open_envelope, read_payload, run_checks
from contracts.verify.keyring import follow_keyrings
from contracts.verify.record import VerificationReport, verify_record
from contracts.verify.release import SignedManifest, verify_manifest, verify_revocation
from contracts.verify.trust import Trust, TrustedKey

__all__ = [
    "ReleaseEvidence",
    "Speaker",
    "Speakers",
    "check_plan",
    "claimed_version",
    "find_revocation",
    "find_speaker",
    "is_released",
    "require_release",
    "verify_released_record",
    "verify_spoken_record",
]


@dataclass(frozen=True, slots=True)
class ReleaseEvidence:
    """The release documents that come with a record; they are verified, never trusted because they came with it."""

    manifest: bytes | None = None
    """The envelope of the version's manifest."""
    keyrings: tuple[bytes, ...] = ()
    """Envelopes of root keyrings, oldest first."""
    revocations: tuple[bytes, ...] = ()
    """Envelopes of revocations."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """The keys that may sign statements of an engine version."""

    trust: Trust
    """The caller's trust, with only the keys that count for the version."""
    release: SignedManifest | None = None
    """The version's manifest; None if the caller's trust names the key itself."""
    revocations: tuple[Revocation, ...] = ()
    """Verified revocations, of any version."""


def is_released(engine_version: str) -> bool:
    """Return whether a version was released; a development version has a `+` in its name."""
    return "+" not in engine_version


def _read_claim(checks: Checks, data: bytes) -> str:
    _, payload = open_envelope(checks, data)
    checks.begin("record")
    return read_payload(Statement, payload).predicate.engine_version


def claimed_version(data: bytes) -> str | None:
    """Return the engine version that a record names, to find its manifest; no signature is verified."""
    return run_checks(_read_claim, data).document


def check_plan(plan: ExecutionPlan, release: SignedManifest) -> None:
    """Require that a plan uses only policies and images of its version's manifest.

    Raises:
        CheckFailed: ``ID_MISMATCH``.
    """
    manifest = release.manifest
    version = manifest.engine_version
    if plan.policies != manifest.policies:
        raise CheckFailed("ID_MISMATCH", f"the plan names policies that are not part of {version}")
    if (plan.backend, plan.runtime_image) not in {(each.backend, each.image) for each in manifest.images}:
        raise CheckFailed("ID_MISMATCH", f"the plan names a runtime image that is not part of {version}")


def _check_record(record: MetricsRecord, release: SignedManifest) -> None:
    manifest = release.manifest
    version = manifest.engine_version
    if record.engine_version != version:
        detail = f"the record names engine version {record.engine_version}, the manifest {version}"
        raise CheckFailed("KEY_VERSION_MISMATCH", detail)
    if record.manifest != release.digest:
        raise CheckFailed("ID_MISMATCH", f"the record does not name this manifest of {version}")
    if record.finished_at < manifest.created_at:
        detail = f"it ended at {record.finished_at}, before {version} was made at {manifest.created_at}"
        raise CheckFailed("OUT_OF_VALIDITY", detail)
    if record.plan.engine_version != version:
        # A version records what another version left unfinished as aborted; it did not plan that execution.
        return
    if record.accepted_at < manifest.created_at:
        detail = f"it was accepted at {record.accepted_at}, before {version} was made at {manifest.created_at}"
        raise CheckFailed("OUT_OF_VALIDITY", detail)
    check_plan(record.plan, release)


def find_revocation(version: str, revocations: Sequence[Revocation], ledger_index: int | None) -> str | None:
    """Return why a revocation excludes a leaf of a version, or None if no revocation covers the leaf.

    Args:
        version: the released version.
        revocations: verified revocations, of any version.
        ledger_index: index of the leaf in the ledger; None if it is not known.
    """
    for each in revocations:
        if each.engine_version != version:
            continue
        if ledger_index is None:
            return f"{version} was revoked, and the record's ledger index is not known"
        if ledger_index >= each.from_index:
            return f"{version} was revoked from ledger index {each.from_index} on"
    return None


def require_release(
    record: MetricsRecord, release: SignedManifest, revocations: Sequence[Revocation], ledger_index: int | None
) -> str:
    """Require that a version may have made a record; return a message.

    Args:
        record: the verified record.
        release: the manifest of the version whose key signed it.
        revocations: verified revocations, of any version.
        ledger_index: index of the record's leaf in the ledger; None if it is not known.

    Raises:
        CheckFailed: ``KEY_VERSION_MISMATCH``, ``ID_MISMATCH``, ``OUT_OF_VALIDITY`` or ``REVOKED``.
    """
    _check_record(record, release)
    version = release.manifest.engine_version
    revoked = find_revocation(version, revocations, ledger_index)
    if revoked is not None:
        raise CheckFailed("REVOKED", revoked)
    return f"made by {version} with its own policies and images; no revocation covers it"


class Speakers:
    """The keys that may sign statements: a trust's own keys, and the keys in manifests that its root signed."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._revocations: list[Revocation] = []
        self.releases: dict[str, SignedManifest] = {}
        """The verified manifests, by engine version."""
        keys = (key for key in trust.keys if trust.root is None or not is_released(key.engine_version))
        self.named = Speaker(trust.model_copy(update={"keys": tuple(keys)}))
        """The keys of the trust itself. If the trust has a root, only those of development versions count."""

    def read_manifest(self, data: bytes, keyring: RootKeyring) -> SignedManifest:
        """Verify and add a manifest.

        Raises:
            CheckFailed: the manifest is refused. ``INCONSISTENT``: its version has another manifest already.
        """
        release = verify_manifest(data, keyring).require()
        version = release.manifest.engine_version
        if version in self.releases:
            raise CheckFailed("INCONSISTENT", f"{version} has two manifests")
        self.releases[version] = release
        return release

    def read_revocation(self, data: bytes, keyring: RootKeyring) -> None:
        """Verify and add a revocation, of any version.

        Raises:
            CheckFailed: the revocation is refused.
        """
        self._revocations.append(verify_revocation(data, keyring).require())

    def released(self) -> dict[str, Speaker]:
        """Return the speaker of each version that has a manifest, by the manifest's digest."""
        return {release.digest: self._speaker_of(release) for release in self.releases.values()}

    def _speaker_of(self, release: SignedManifest) -> Speaker:
        key = TrustedKey(engine_version=release.manifest.engine_version, public_key=release.manifest.public_key)
        return Speaker(self._trust.model_copy(update={"keys": (key,)}), release, tuple(self._revocations))


def _find_released(
    checks: Checks, version: str | None, trust: Trust, root: RootKeyring, evidence: ReleaseEvidence
) -> Speaker:
    speakers = Speakers(trust)
    keyring = follow_keyrings(checks, root, evidence.keyrings)
    checks.begin("engine manifest")
    if evidence.manifest is None:
        raise CheckFailed("UNTRUSTED_MANIFEST", f"there is no manifest of {version}")
    release = speakers.read_manifest(evidence.manifest, keyring)
    checks.hold(release.digest)
    for data in evidence.revocations:
        checks.begin("revocation")
        speakers.read_revocation(data, keyring)
        checks.hold("signed by the root")
    return speakers.released()[release.digest]


# Thousands of bundles can carry one manifest, which takes longer to verify than the rest of a bundle.
@lru_cache(maxsize=4)
def find_speaker(version: str | None, trust: Trust, evidence: ReleaseEvidence) -> Verified[Speaker]:
    """Find the keys that may sign for an engine version.

    If the trust has a root, a released version is signed by the key in its manifest. Every other version is signed by
    a key that the trust names; if it has a root, its keys count for development versions only.

    Args:
        version: the version that a statement names; None if the statement cannot be read.
        trust: the caller's trust.
        evidence: the release documents that came with the statement.
    """
    # A statement that cannot be read is never VALID. If it has a manifest, the report shows which part is wrong.
    unclaimed = version is None and evidence.manifest is None
    if trust.root is None or unclaimed or (version is not None and not is_released(version)):
        return Verified((), Speakers(trust).named)
    return run_checks(_find_released, version, trust, trust.root, evidence)


def verify_spoken_record(data: bytes, speaker: Speaker, *, ledger_index: int | None = None) -> VerificationReport:
    """Verify a record with the keys that ``find_speaker`` found; see ``verify_released_record``."""
    report = verify_record(data, speaker.trust)
    if speaker.release is None or report.verdict != "VALID":
        return report
    with Checks() as checks:
        record = checks.take(report.verified)
        checks.begin("release")
        checks.hold(require_release(record, speaker.release, speaker.revocations, ledger_index))
    return VerificationReport(checks.made, report.record)


def verify_released_record(
    data: bytes, trust: Trust, evidence: ReleaseEvidence, *, ledger_index: int | None = None
) -> VerificationReport:
    """Verify a record of any version.

    Args:
        data: the envelope of the record.
        trust: the caller's trust.
        evidence: the release documents that came with the record.
        ledger_index: index of the record's leaf in the ledger, if the caller has verified it.

    Returns:
        A report; it never raises for a bad record.
    """
    found = find_speaker(None if trust.root is None else claimed_version(data), trust, evidence)
    if found.document is None:
        return VerificationReport(found.checks, None)
    report = verify_spoken_record(data, found.document, ledger_index=ledger_index)
    return VerificationReport((*found.checks, *report.checks), report.record)
