"""Verify a record of a released version, offline: through its engine manifest and root keys that the caller trusts.

The checks, in order: the root keyrings from the trusted one to the newest offered; the engine manifest; the
revocations; the record itself, with the manifest's key; and whether that version may have made it.
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
    """What comes with a record, from whoever: none of it is trusted for coming along."""

    manifest: bytes | None = None
    """The envelope of the version's manifest."""
    keyrings: tuple[bytes, ...] = ()
    """Envelopes of root keyrings, oldest first."""
    revocations: tuple[bytes, ...] = ()
    """Envelopes of revocations."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who may make statements under an engine version."""

    trust: Trust
    """The trust, with those keys alone that count for the version."""
    release: SignedManifest | None = None
    """The version's manifest; None where it is trusted through a key that the caller named."""
    revocations: tuple[Revocation, ...] = ()
    """Verified ones, of any version."""


def is_released(engine_version: str) -> bool:
    """Tell a released version from a development tree's."""
    return "+" not in engine_version


def _read_claim(checks: Checks, data: bytes) -> str:
    _, payload = open_envelope(checks, data)
    checks.begin("record")
    return read_payload(Statement, payload).predicate.engine_version


def claimed_version(data: bytes) -> str | None:
    """Return the engine version that a record claims, so that its manifest can be looked for; nothing is verified."""
    return run_checks(_read_claim, data).document


def check_plan(plan: ExecutionPlan, release: SignedManifest) -> None:
    """Require that a plan names nothing that its version does not consist of.

    Raises:
        CheckFailed: ``ID_MISMATCH``.
    """
    manifest = release.manifest
    version = manifest.engine_version
    if plan.policies != manifest.policies:
        raise CheckFailed("ID_MISMATCH", f"the plan names policies that {version} does not consist of")
    if (plan.backend, plan.runtime_image) not in {(each.backend, each.image) for each in manifest.images}:
        raise CheckFailed("ID_MISMATCH", f"the plan names a runtime image that {version} does not consist of")


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
    check_plan(record.plan, release)


def find_revocation(version: str, revocations: Sequence[Revocation], ledger_index: int | None) -> str | None:
    """Return why a version cannot have made a leaf of the ledger, None where no revocation covers it.

    Args:
        version: the released version.
        revocations: verified ones, of any version.
        ledger_index: place of the leaf in the ledger, counted from 0; None where it is not known.
    """
    for each in revocations:
        if each.engine_version != version:
            continue
        if ledger_index is None:
            return f"{version} was revoked, and the record's place in the ledger is not known"
        if ledger_index >= each.from_index:
            return f"{version} was revoked from ledger index {each.from_index} on"
    return None


def require_release(
    record: MetricsRecord, release: SignedManifest, revocations: Sequence[Revocation], ledger_index: int | None
) -> str:
    """Require that a version may have made a record; both are verified already. Return a message.

    Args:
        record: the record.
        release: the manifest of the version whose key signed it.
        revocations: verified ones, of any version.
        ledger_index: place of the record's leaf in the ledger, counted from 0; None where it is not known.

    Raises:
        CheckFailed: ``KEY_VERSION_MISMATCH``, ``ID_MISMATCH``, ``OUT_OF_VALIDITY`` or ``REVOKED``.
    """
    _check_record(record, release)
    version = release.manifest.engine_version
    revoked = find_revocation(version, revocations, ledger_index)
    if revoked is not None:
        raise CheckFailed("REVOKED", revoked)
    return f"made by {version} of its own policies and images; no revocation covers it"


class Speakers:
    """The keys that may sign statements: those that a trust names, and those of the manifests that its root signed."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._revocations: list[Revocation] = []
        self.releases: dict[str, SignedManifest] = {}
        """The verified manifests, by engine version."""
        keys = (key for key in trust.keys if trust.root is None or not is_released(key.engine_version))
        self.named = Speaker(trust.model_copy(update={"keys": tuple(keys)}))
        """Speaks for the versions whose keys count by the trust alone: with a root, only development versions."""

    def read_manifest(self, data: bytes, keyring: RootKeyring) -> SignedManifest:
        """Verify and add a manifest.

        Raises:
            CheckFailed: the manifest is refused; ``INCONSISTENT``: its version has another one already.
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
        raise CheckFailed("UNTRUSTED_MANIFEST", f"there is none of {version}")
    release = speakers.read_manifest(evidence.manifest, keyring)
    checks.hold(release.digest)
    for data in evidence.revocations:
        checks.begin("revocation")
        speakers.read_revocation(data, keyring)
        checks.hold("signed by the root")
    return speakers.released()[release.digest]


# Thousands of bundles of one version come with the same manifest, which takes longer to verify than all else in them.
@lru_cache(maxsize=4)
def find_speaker(version: str | None, trust: Trust, evidence: ReleaseEvidence) -> Verified[Speaker]:
    """Find out whose signature counts for an engine version.

    For a released version it is the key of its manifest where the trust has a root; for every other one the keys of
    the trust, of which only those of development versions count where it has a root.

    Args:
        version: what a statement claims; None where it claims nothing that can be read.
        trust: the caller's.
        evidence: what came with the statement.
    """
    # Where no claim can be read nothing will be VALID; with the manifest at hand it is said what is wrong.
    unclaimed = version is None and evidence.manifest is None
    if trust.root is None or unclaimed or (version is not None and not is_released(version)):
        return Verified((), Speakers(trust).named)
    return run_checks(_find_released, version, trust, trust.root, evidence)


def verify_spoken_record(data: bytes, speaker: Speaker, *, ledger_index: int | None = None) -> VerificationReport:
    """Verify a record whose speaker was found; see ``verify_released_record``."""
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
        trust: the caller's.
        evidence: what came with the record.
        ledger_index: place of the record's leaf in the ledger, where the caller has verified it.

    Returns:
        A report; it never raises for a bad record.
    """
    found = find_speaker(None if trust.root is None else claimed_version(data), trust, evidence)
    if found.document is None:
        return VerificationReport(found.checks, None)
    report = verify_spoken_record(data, found.document, ledger_index=ledger_index)
    return VerificationReport((*found.checks, *report.checks), report.record)
