"""Verify one bundle offline: the record, the statement of its start, and where both stand in the ledger. Pure.

Everything is held against a trust that the caller has from elsewhere; nothing is believed for being in the bundle.
The checks, in order: the bundle's form, the record (`contracts.verify`, for a released version through its manifest,
`contracts.verify.speaker`), the caller's nonce, the statement of the start (`contracts.verify.started`), what else the
bundle holds, and the ledger (`contracts.verify.place`). A revocation counts from a place in the ledger on, and that
place is the one the proof states; it is verified further down, so that it counts only where the verdict is VALID.
"""

from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.started_record import StartedRecord
from contracts.ledger.bundle import Bundle
from contracts.releases.statements import RevocationStatement
from contracts.verify.checkpoint import load_logs, load_witnesses
from contracts.verify.checks import Check, CheckFailed, code_of, collect_checks, read_payload, verdict_of
from contracts.verify.not_proven import list_not_proven
from contracts.verify.place import PLACE_CHECKS, LedgerTrust, Place, StatedLeaf, place_steps, read_stated_leaf
from contracts.verify.record import CHECKS
from contracts.verify.speaker import ReleaseEvidence, Speaker, claimed_version, find_speaker, verify_spoken_record
from contracts.verify.started import STARTED_CHECKS, started_steps
from contracts.verify.trust import Trust
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import Envelope, decode_base64
from contracts.wire.errors import ContractError

__all__ = ["BUNDLE_CHECKS", "BundleReport", "verify_bundle"]

_T = TypeVar("_T")

OPENING = ("size", "bundle", "proofs", "trust")
RECORD, STARTED = "record: ", "started: "
_STARTED_CHECKS = tuple(STARTED + name for name in STARTED_CHECKS)
BUNDLE_CHECKS = (
    *OPENING,
    *(RECORD + name for name in CHECKS),
    "nonce",
    *_STARTED_CHECKS,
    "attachments",
    *PLACE_CHECKS,
)
"""Those that are made of every bundle. A released version's has more: keyrings, manifest, revocations, release."""


@dataclass(frozen=True, slots=True)
class BundleReport:
    """All checks that were made, in order; the last one is the first that failed, if any."""

    checks: tuple[Check, ...]
    record: MetricsRecord | None = None
    """The record, where it could be read; it is verified where the verdict is VALID."""
    place: Place | None = None
    """Its place in the ledger, where that was verified."""
    not_proven: tuple[str, ...] = ()
    """What a VALID verdict does not say of this bundle."""

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


def _open_steps(data: bytes, trust: Trust, revocations: tuple[bytes, ...]) -> Generator[str, None, _Opened]:
    if len(data) > Bundle.MAX_BYTES:
        raise CheckFailed("TOO_LARGE", f"more than {Bundle.MAX_BYTES} bytes, which is what is read")
    yield f"{len(data)} bytes"
    try:
        bundle = Bundle.parse(data)
    except ContractError as error:
        raise CheckFailed(code_of(error), str(error)) from error
    yield f"{bundle.schema_version}, no field missing or unknown"
    started = read_stated_leaf("started", bundle.started, bundle.proofs.started)
    final = read_stated_leaf("final", bundle.record, bundle.proofs.final)
    yield "two of the form C2SP tlog-proof"
    logs, witnesses = load_logs(trust), load_witnesses(trust)
    yield f"{len(logs)} ledgers, {len(witnesses)} witnesses"
    return _Opened(bundle, started, final, LedgerTrust(trust, logs, witnesses), revocations)


def _encode(envelopes: Iterable[Envelope]) -> tuple[bytes, ...]:
    return tuple(envelope.encode() for envelope in envelopes)


def _evidence(opened: _Opened, manifest: Envelope | None) -> ReleaseEvidence:
    return ReleaseEvidence(
        manifest=None if manifest is None else manifest.encode(),
        keyrings=_encode(opened.bundle.keyrings),
        revocations=(*_encode(opened.bundle.revocations), *opened.revocations),
    )


def _prefixed(prefix: str, checks: Iterable[Check]) -> tuple[Check, ...]:
    return tuple(replace(check, name=prefix + check.name) for check in checks)


def _nonce_steps(record: MetricsRecord, nonce: str | None) -> Generator[str, None, bool]:
    stated = record.plan.nonce
    if nonce is not None and nonce != stated:
        raise CheckFailed("ID_MISMATCH", "the record has none" if stated is None else f"the record's is {stated}")
    yield "not asked for" if nonce is None else nonce
    return True


def _payload_of(envelope: Envelope, what: str) -> bytes:
    try:
        return decode_base64(envelope.payload)
    except ContractError as error:
        raise CheckFailed("MALFORMED", f"the {what} is not in canonical base64") from error


def _require_named(envelope: Envelope | None, digest: str | None, what: str) -> None:
    if envelope is not None and sha256_digest(_payload_of(envelope, what)) != digest:
        raise CheckFailed("ID_MISMATCH", f"there is a {what} that no statement of the bundle names")


def _attachment_steps(bundle: Bundle, record: MetricsRecord, started: StartedRecord) -> Generator[str, None, bool]:
    same = started.engine_version == record.engine_version
    _require_named(bundle.manifest, record.manifest, "manifest")
    _require_named(bundle.started_manifest, None if same else started.manifest, "manifest of the start")
    attached = [each for each in (bundle.manifest, bundle.started_manifest) if each is not None]
    if not attached and (bundle.keyrings or bundle.revocations):
        raise CheckFailed("ID_MISMATCH", "there are root keyrings or revocations, and no manifest that they are for")
    for envelope in bundle.revocations:
        revocation = read_payload(RevocationStatement, _payload_of(envelope, "revocation")).predicate
        if revocation.engine_version not in {record.engine_version, started.engine_version}:
            raise CheckFailed(
                "ID_MISMATCH", f"there is a revocation of {revocation.engine_version}, which made nothing"
            )
    yield f"{len(attached)} manifests, {len(bundle.keyrings)} keyrings, {len(bundle.revocations)} revocations"
    return True


class _Stop(Exception):  # a check failed, and with it the verification ends
    pass


class _Draft:
    """A report that is being written."""

    def __init__(self) -> None:
        self.report = BundleReport(())

    def add(self, checks: tuple[Check, ...], found: _T | None) -> _T:
        """Take over some checks and give back what they were made for."""
        self.report = replace(self.report, checks=(*self.report.checks, *checks))
        if found is None or self.report.verdict != "VALID":
            raise _Stop
        return found

    def judge(self, data: bytes, trust: Trust, nonce: str | None, revocations: tuple[bytes, ...]) -> None:
        """Make all the checks."""
        opened = self.add(*collect_checks(OPENING, _open_steps(data, trust, revocations)))
        record, speaker = self._judge_record(opened)
        self.add(*collect_checks(("nonce",), _nonce_steps(record, nonce)))
        started = self._judge_started(opened, record, speaker)
        self.add(*collect_checks(("attachments",), _attachment_steps(opened.bundle, record, started)))
        steps = place_steps((opened.started, started), (opened.final, record), opened.ledgers)
        place = self.add(*collect_checks(PLACE_CHECKS, steps))
        not_proven = list_not_proven(record, place, trust, asked=nonce is not None)
        self.report = replace(self.report, place=place, not_proven=not_proven)

    def _judge_record(self, opened: _Opened) -> tuple[MetricsRecord, Speaker]:
        trust, envelope = opened.ledgers.trust, opened.final.envelope
        version = None if trust.root is None else claimed_version(envelope)
        found = find_speaker(version, trust, _evidence(opened, opened.bundle.manifest))
        speaker = self.add(found.checks, found.document)
        spoken = verify_spoken_record(envelope, speaker, ledger_index=opened.final.proof.index)
        self.report = replace(self.report, record=spoken.record)
        return self.add(_prefixed(RECORD, spoken.checks), spoken.record), speaker

    def _judge_started(self, opened: _Opened, record: MetricsRecord, speaker: Speaker) -> StartedRecord:
        bundle = opened.bundle
        if record.plan.engine_version != record.engine_version:
            evidence = _evidence(opened, bundle.started_manifest)
            found = find_speaker(record.plan.engine_version, opened.ledgers.trust, evidence)
            speaker = self.add(_prefixed(STARTED, found.checks), found.document)
        steps = started_steps(opened.started.envelope, record, speaker, opened.started.proof.index)
        return self.add(*collect_checks(_STARTED_CHECKS, steps))


def verify_bundle(
    data: bytes, trust: Trust, *, nonce: str | None = None, revocations: tuple[bytes, ...] = ()
) -> BundleReport:
    """Verify the bytes of one bundle.

    Args:
        data: the bundle as `GET /v1/runs/{id}/bundle` gives it.
        trust: root keys or keys, ledgers, witnesses and the last checkpoint seen: the caller's, from elsewhere.
        nonce: the caller's challenge, which the execution must have answered; None: there was none.
        revocations: envelopes of revocations that the caller has from elsewhere; the bundle may keep quiet about them.

    Returns:
        A report; it never raises for a bad bundle.
    """
    draft = _Draft()
    with suppress(_Stop):
        draft.judge(data, trust, nonce, revocations)
    return draft.report
