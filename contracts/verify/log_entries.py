"""Verify the lines of an export one by one; `contracts.verify.log` verifies what only all lines together show.

Each line is verified by itself, without shared state, so several processes can share the work.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.started_record import StartedRecord
from contracts.ledger.bundle import LedgerEntryView
from contracts.ledger.export import ExportHeader, encode_entry
from contracts.ledger.merkle import hash_leaf
from contracts.ledger.proof import Leaf, build_leaf
from contracts.releases.manifest import RootKeyring
from contracts.verify.checks import Check, CheckFailed, Checks, code_of, run_checks
from contracts.verify.keyring import follow_keyrings
from contracts.verify.speaker import Speaker, Speakers, check_plan, verify_spoken_record
from contracts.verify.started import verify_lone_started
from contracts.verify.trust import Trust
from contracts.wire.envelope import Envelope
from contracts.wire.errors import ContractError

__all__ = ["EntryFacts", "EntryReader", "Fault", "StatementFacts"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: the check of `contracts.verify.log` that fails, its code, and a message."""

    check: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """The fields of a verified statement that are compared with other statements."""

    engine_version: str
    """Version of the engine that made the statement."""
    planned_by: str
    """Engine version in the plan."""
    plan_digest: str
    nonce: str | None
    manifest: str | None
    accepted_at: str
    finished_at: str | None
    """None if the execution has only been accepted."""
    outcome: str | None
    container_id: str | None
    """None if there was no container, or if it is not known."""


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """The content of one line."""

    position: int | None
    """None if the line is not an entry."""
    leaf: Leaf | None
    leaf_hash: bytes | None
    statement: StatementFacts | None
    """None if the statement or the line was refused."""
    faults: tuple[Fault, ...]


def _refused(code: str, message: str) -> EntryFacts:
    return EntryFacts(None, None, None, None, (Fault("entries", code, message),))


class EntryReader:
    """Verifies lines against a trust and the release documents in the export's header."""

    def __init__(self, header: ExportHeader, trust: Trust) -> None:
        speakers = Speakers(trust)
        self.check = _read_releases(speakers, header, trust.root)
        """Whether the header's keyrings, manifests and revocations hold."""
        self._rooted = trust.root is not None
        self._released = speakers.released()
        self._releases = speakers.releases
        self._named = speakers.named
        self._last: Speaker | None = None

    def read(self, line: bytes) -> EntryFacts:
        """Verify one line; it never raises for a bad line."""
        try:
            entry = LedgerEntryView.parse(line.removesuffix(b"\n"))
            leaf, envelope = entry.leaf, entry.envelope.encode()
            if len(entry.envelope.signatures) != 1:
                return _refused(
                    "SIGNATURE_COUNT", f"{len(entry.envelope.signatures)} signatures; exactly one is expected"
                )
            rebuilt = build_leaf(leaf.kind, leaf.seq, leaf.execution_id, envelope, leaf.manifest)
        except ContractError as error:
            return _refused(code_of(error), str(error))
        facts = EntryFacts(entry.position, leaf, hash_leaf(leaf.canonical()), None, ())
        if encode_entry(entry) != line:
            return replace(facts, faults=(Fault("entries", "MALFORMED", "the line is not in RFC 8785 form"),))
        if rebuilt != leaf:
            return replace(
                facts, faults=(Fault("entries", "INCONSISTENT", "the leaf does not follow from its envelope"),)
            )
        try:
            record = self._verify(leaf, envelope, entry.position)
            self._check_planner(record)
        except CheckFailed as failure:
            return replace(facts, faults=(Fault("statements", failure.code, str(failure)),))
        return replace(facts, statement=_facts_of(record), faults=_compare(leaf, record))

    def _verify(self, leaf: Leaf, envelope: bytes, position: int) -> MetricsRecord | StartedRecord:
        if self._rooted and leaf.manifest is not None:
            speaker = self._released.get(leaf.manifest)
            if speaker is None:
                message = f"the header has no manifest {leaf.manifest}"
                raise CheckFailed("UNTRUSTED_MANIFEST", message)
            return _verify_one(leaf, envelope, position, speaker)
        # Neighbouring lines usually have one signer, and a trust file may name many: the last signer is tried first.
        if self._last is not None:
            with suppress(CheckFailed):
                return _verify_one(leaf, envelope, position, self._last)
        record = _verify_one(leaf, envelope, position, self._named)
        self._last = _narrow(self._named, record.engine_version)
        return record

    def _check_planner(self, record: MetricsRecord | StartedRecord) -> None:
        # One version records what another left unfinished as aborted; the plan must still belong to the other version.
        if isinstance(record, MetricsRecord) and record.plan.engine_version != record.engine_version:
            planner = self._releases.get(record.plan.engine_version)
            if planner is not None:
                check_plan(record.plan, planner)


def _check_releases(checks: Checks, speakers: Speakers, header: ExportHeader, root: RootKeyring) -> str:
    keyring = follow_keyrings(checks, root, _encode_all(header.keyrings))
    checks.begin("a revocation")
    for data in _encode_all(header.revocations):
        speakers.read_revocation(data, keyring)
    checks.begin("a manifest")
    for data in _encode_all(header.manifests):
        speakers.read_manifest(data, keyring)
    return f"{len(header.manifests)} manifests, {len(header.revocations)} revocations, signed by the root"


def _read_releases(speakers: Speakers, header: ExportHeader, root: RootKeyring | None) -> Check:
    name = "releases"
    if root is None:
        return Check(name, "OK", "the trust file has no root: released versions count by its keys only")
    try:
        return Check(name, "OK", run_checks(_check_releases, speakers, header, root).require())
    except CheckFailed as failure:
        return Check(name, failure.code, str(failure))


def _encode_all(envelopes: Sequence[Envelope]) -> list[bytes]:
    return [each.encode() for each in envelopes]


def _narrow(speaker: Speaker, engine_version: str) -> Speaker:
    keys = tuple(key for key in speaker.trust.keys if key.engine_version == engine_version)
    return Speaker(speaker.trust.model_copy(update={"keys": keys}))


def _verify_one(leaf: Leaf, envelope: bytes, position: int, speaker: Speaker) -> MetricsRecord | StartedRecord:
    if leaf.kind == "started":
        return verify_lone_started(envelope, speaker, ledger_index=position).require()
    return verify_spoken_record(envelope, speaker, ledger_index=position).verified.require()


def _facts_of(record: MetricsRecord | StartedRecord) -> StatementFacts:
    if isinstance(record, MetricsRecord):
        return StatementFacts(
            record.engine_version,
            record.plan.engine_version,
            record.plan_digest,
            record.plan.nonce,
            record.manifest,
            record.accepted_at,
            record.finished_at,
            record.outcome,
            None if record.sandbox is None else record.sandbox.container_id,
        )
    return StatementFacts(
        record.engine_version,
        record.engine_version,
        record.plan_digest,
        record.nonce,
        record.manifest,
        record.accepted_at,
        None,
        None,
        None,
    )


def _compare(leaf: Leaf, record: MetricsRecord | StartedRecord) -> tuple[Fault, ...]:
    names = [name for name in ("execution_id", "seq", "manifest") if getattr(leaf, name) != getattr(record, name)]
    if not names:
        return ()
    return (Fault("identities", "ID_MISMATCH", f"the leaf and the statement differ in {', '.join(names)}"),)
