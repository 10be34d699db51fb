"""Verify one bundle offline: the record, the statement of its start, and their places in the ledger. Pure.

Everything is verified against the caller's own trust; nothing is trusted because it is in the bundle. The checks are,
in order: the bundle's form; the record, for a released version through its manifest (`contracts.verify.record`,
`contracts.verify.speaker`); the caller's nonce; the statement of the start (`contracts.verify.started`); the bundle's
other documents; and the ledger (`contracts.verify.place`).

A revocation counts from a ledger index on. The index that the proof states is used before the proof is verified, so
the result counts only if the verdict is VALID.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.started_record import StartedRecord
from contracts.ledger.bundle import Bundle
from contracts.releases.statements import RevocationStatement
from contracts.verify.checkpoint import load_logs, load_witnesses
from contracts.verify.checks import Check, CheckFailed, Checks, code_of, read_payload, verdict_of
from contracts.verify.not_proven import list_not_proven
from contracts.verify.place import PLACE_CHECKS, LedgerTrust, Place, StatedLeaf, check_place, read_stated_leaf
from contracts.verify.record import CHECKS
from contracts.verify.speaker import ReleaseEvidence, Speaker, claimed_version, find_speaker, verify_spoken_record
from contracts.verify.started import STARTED_CHECKS, check_started
from contracts.verify.trust import Trust
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import Envelope, decode_base64
from contracts.wire.errors import ContractError

__all__ = ["BUNDLE_CHECKS", "BundleReport", "SeenBundles", "verify_bundle"]

# Name of the check that no single bundle can make: a bundle against the bundles before it.
TOGETHER = "other bundles"
RECORD, STARTED = "record: ", "started: "
BUNDLE_CHECKS = (
    *("size", "bundle", "proofs", "trust"),
    *(RECORD + name for name in CHECKS),
    "nonce",
    *(STARTED + name for name in STARTED_CHECKS),
    "attachments",
    *PLACE_CHECKS,
)
"""The checks of every bundle. Released versions have more: keyrings, manifest, revocations, release."""


@dataclass(frozen=True, slots=True)
class BundleReport:
    """All checks that were made, in order; if a check failed, it is the last one."""

    checks: tuple[Check, ...]
    record: MetricsRecord | None = None
    """The record, if it could be read; it is verified if the verdict is VALID."""
    place: Place | None = None
    """Its place in the ledger, if that was verified."""
    not_proven: tuple[str, ...] = ()
    """Sentences that name what a VALID verdict does not prove for this bundle."""

    @property
    def verdict(self) -> str:
        """``VALID``, or the code of the check that failed."""
        return verdict_of(self.checks)


@dataclass(frozen=True, slots=True)
class _Opened:
    bundle: Bundle
    started: StatedLeaf
    final: StatedLeaf
    ledgers: LedgerTrust
    revocations: tuple[bytes, ...]


def _open_bundle(checks: Checks, data: bytes, trust: Trust, revocations: tuple[bytes, ...]) -> _Opened:
    checks.begin("size")
    if len(data) > Bundle.MAX_BYTES:
        raise CheckFailed("TOO_LARGE", f"more than {Bundle.MAX_BYTES} bytes, the largest bundle that is read")
    checks.hold(f"{len(data)} bytes")
    checks.begin("bundle")
    try:
        bundle = Bundle.parse(data)
    except ContractError as error:
        raise CheckFailed(code_of(error), str(error)) from error
    checks.hold(f"{bundle.schema_version}, no field missing or unknown")
    checks.begin("proofs")
    started = read_stated_leaf("started", bundle.started, bundle.proofs.started)
    final = read_stated_leaf("final", bundle.record, bundle.proofs.final)
    checks.hold("two proofs in the form C2SP tlog-proof")
    checks.begin("trust")
    logs, witnesses = load_logs(trust), load_witnesses(trust)
    checks.hold(f"{len(logs)} ledgers, {len(witnesses)} witnesses")
    return _Opened(bundle, started, final, LedgerTrust(trust, logs, witnesses), revocations)


def _encode(envelopes: Iterable[Envelope]) -> tuple[bytes, ...]:
    return tuple(envelope.encode() for envelope in envelopes)


def _evidence(opened: _Opened, manifest: Envelope | None) -> ReleaseEvidence:
    return ReleaseEvidence(
        manifest=None if manifest is None else manifest.encode(),
        keyrings=_encode(opened.bundle.keyrings),
        revocations=(*_encode(opened.bundle.revocations), *opened.revocations),
    )


def _require_nonce(record: MetricsRecord, nonce: str | None) -> str:
    stated = record.plan.nonce
    if nonce is not None and nonce != stated:
        raise CheckFailed("ID_MISMATCH", "the record has no nonce" if stated is None else f"the record's is {stated}")
    return "no nonce was given" if nonce is None else nonce


def _payload_of(envelope: Envelope, what: str) -> bytes:
    try:
        return decode_base64(envelope.payload)
    except ContractError as error:
        raise CheckFailed("MALFORMED", f"the {what} is not in canonical base64") from error


def _require_named(envelope: Envelope | None, digest: str | None, what: str) -> None:
    if envelope is not None and sha256_digest(_payload_of(envelope, what)) != digest:
        raise CheckFailed("ID_MISMATCH", f"the bundle has a {what} that none of its statements names")


def _check_attachments(bundle: Bundle, record: MetricsRecord, started: StartedRecord) -> str:
    same = started.engine_version == record.engine_version
    _require_named(bundle.manifest, record.manifest, "manifest")
    _require_named(bundle.started_manifest, None if same else started.manifest, "manifest of the start")
    attached = [each for each in (bundle.manifest, bundle.started_manifest) if each is not None]
    if not attached and (bundle.keyrings or bundle.revocations):
        raise CheckFailed("ID_MISMATCH", "the bundle has root keyrings or revocations, but no manifest that needs them")
    for envelope in bundle.revocations:
        revocation = read_payload(RevocationStatement, _payload_of(envelope, "revocation")).predicate
        if revocation.engine_version not in {record.engine_version, started.engine_version}:
            raise CheckFailed(
                "ID_MISMATCH", f"the bundle has a revocation of {revocation.engine_version}, which made nothing in it"
            )
    return f"{len(attached)} manifests, {len(bundle.keyrings)} keyrings, {len(bundle.revocations)} revocations"


class _Verification:
    """The verification of one bundle."""

    def __init__(self, trust: Trust, nonce: str | None, revocations: tuple[bytes, ...]) -> None:
        self._trust = trust
        self._nonce = nonce
        self._revocations = revocations
        self._checks = Checks()
        self._record: MetricsRecord | None = None
        self._place: Place | None = None
        self._not_proven: tuple[str, ...] = ()

    def run(self, data: bytes) -> BundleReport:
        """Make all the checks and return the report."""
        with self._checks as checks:
            opened = _open_bundle(checks, data, self._trust, self._revocations)
            record, speaker = self._check_record(opened)
            checks.begin("nonce")
            checks.hold(_require_nonce(record, self._nonce))
            started = self._check_started(opened, record, speaker)
            checks.begin("attachments")
            checks.hold(_check_attachments(opened.bundle, record, started))
            place = check_place(checks, (opened.started, started), (opened.final, record), opened.ledgers)
            self._place = place
            self._not_proven = list_not_proven(record, place, self._trust, asked=self._nonce is not None)
        return BundleReport(self._checks.made, self._record, self._place, self._not_proven)

    def _check_record(self, opened: _Opened) -> tuple[MetricsRecord, Speaker]:
        envelope = opened.final.envelope
        version = None if self._trust.root is None else claimed_version(envelope)
        evidence = _evidence(opened, opened.bundle.manifest)
        speaker = self._checks.take(find_speaker(version, self._trust, evidence))
        spoken = verify_spoken_record(envelope, speaker, ledger_index=opened.final.proof.index)
        self._record = spoken.record
        with self._checks.prefixed(RECORD):
            return self._checks.take(spoken.verified), speaker

    def _check_started(self, opened: _Opened, record: MetricsRecord, speaker: Speaker) -> StartedRecord:
        with self._checks.prefixed(STARTED):
            if record.plan.engine_version != record.engine_version:
                evidence = _evidence(opened, opened.bundle.started_manifest)
                speaker = self._checks.take(find_speaker(record.plan.engine_version, self._trust, evidence))
            leaf = opened.started
            return check_started(self._checks, leaf.envelope, record, speaker, leaf.proof.index)


def verify_bundle(
    data: bytes, trust: Trust, *, nonce: str | None = None, revocations: tuple[bytes, ...] = ()
) -> BundleReport:
    """Verify the bytes of one bundle.

    Args:
        data: the bundle, as `GET /v1/runs/{id}/bundle` returns it.
        trust: the caller's root keys or keys, ledgers, witnesses and last checkpoint, from another source.
        nonce: the challenge that the caller sent with the request; None if the caller sent no nonce.
        revocations: envelopes of revocations that the caller has; the bundle may leave them out.

    Returns:
        A report; it never raises for a bad bundle.
    """
    return _Verification(trust, nonce, revocations).run(data)


class SeenBundles:
    """Remembers the facts of each bundle that later bundles must not contradict: a few hundred bytes for each."""

    def __init__(self) -> None:
        self._roots: dict[tuple[str, int], bytes] = {}
        self._leaves: dict[tuple[str, int], bytes] = {}
        self._places: dict[str, tuple[str, tuple[int, int]]] = {}
        self._numbers: dict[tuple[str, int], str] = {}
        self._containers: dict[str, str] = {}

    def add(self, report: BundleReport) -> Check:
        """Compare a VALID bundle with the bundles before it, and remember it.

        The same execution may come twice, with proofs of different ages.

        Returns:
            ``FORK``: the ledger has two roots over the same entries. ``INCONSISTENT``: one index has two leaves.
            ``DUPLICATE_ID``: an execution has two places, or two executions share a number or a container.
        """
        if report.record is None or report.place is None:
            return Check(TOGETHER, "OK", "not compared")
        place, record = report.place, report.record
        origin, size, execution_id = place.checkpoint.origin, place.checkpoint.size, record.execution_id
        if self._roots.setdefault((origin, size), place.checkpoint.root) != place.checkpoint.root:
            return Check(
                TOGETHER, "FORK", f"another bundle has another root over {size} entries of {origin}; keep both"
            )
        for index, leaf_hash in zip(place.positions, place.leaf_hashes, strict=True):
            if self._leaves.setdefault((origin, index), leaf_hash) != leaf_hash:
                return Check(TOGETHER, "INCONSISTENT", f"another bundle has another leaf at index {index} of {origin}")
        if self._places.setdefault(execution_id, (origin, place.positions)) != (origin, place.positions):
            return Check(TOGETHER, "DUPLICATE_ID", f"{execution_id} has two places in the ledger")
        if self._numbers.setdefault((origin, record.seq), execution_id) != execution_id:
            return Check(TOGETHER, "DUPLICATE_ID", f"number {record.seq} of {origin} belongs to two executions")
        container_id = None if record.sandbox is None else record.sandbox.container_id
        if container_id is not None and self._containers.setdefault(container_id, execution_id) != execution_id:
            return Check(TOGETHER, "DUPLICATE_ID", f"container {container_id} was used by two executions")
        return Check(TOGETHER, "OK", "no other bundle contradicts this one")
