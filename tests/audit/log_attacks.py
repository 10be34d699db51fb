"""Attacks on the export of a ledger, each made from a genuine one, with the code that it must get.

Three hands: whoever only has the file; the engine's owner, who has the log's key and signs what he likes with it; and
whoever shows different logs to different people.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from contracts.base import canonical_bytes
from contracts.bundle import LedgerEntryView
from contracts.envelope import Envelope, seal
from contracts.ledger_export import ExportHeader
from contracts.metrics_record import Statement
from contracts.trust import Trust
from supervisor.domain.recording import abort_conclusion, encode_statement
from tests.audit.logs import ENGINE, TRUST, GenuineLog, execution_id, make_genuine
from tests.factories import make_signer
from tests.fakes import make_log
from tests.releases import (
    VERSION,
    VERSION_KEY,
    make_keyring,
    make_manifest,
    make_release,
    make_revocation,
    payload_digest,
    root_key,
    sealed_keyring,
    sealed_manifest,
    sealed_revocation,
)

__all__ = ["ATTACKS", "RELEASED", "ROOTED", "Attack", "change", "vouched"]


@dataclass(frozen=True)
class Attack:
    """One attack: what it gives, to whom, and what must be said of it."""

    code: str
    check: str
    make: Callable[[], tuple[list[bytes], Trust]]


ATTACKS: dict[str, Attack] = {}
Made = list[bytes] | tuple[list[bytes], Trust]


def attack(code: str, check: str) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Register an attack; where no trust is given it is the genuine one."""

    def register(made: Callable[[], Made]) -> Callable[[], Made]:
        def make() -> tuple[list[bytes], Trust]:
            result = made()
            return result if isinstance(result, tuple) else (result, TRUST)

        ATTACKS[made.__name__] = Attack(code, check, make)
        return made

    return register


def change(line: bytes, **changes: Any) -> bytes:
    """Return a line with other members, in RFC 8785 form."""
    return canonical_bytes(json.loads(line) | changes) + b"\n"


def change_leaf(line: bytes, **changes: Any) -> bytes:
    return change(line, leaf=json.loads(line)["leaf"] | changes)


def renumber(lines: list[bytes]) -> list[bytes]:
    return [lines[0], *(change(line, position=position) for position, line in enumerate(lines[1:]))]


def resealed(log: GenuineLog, position: int, signer: Any = ENGINE, **changes: Any) -> GenuineLog:
    """Put another record in the place of a final one, signed again, under a new checkpoint."""
    entry = log.entries[position]
    payload = base64.b64decode(Envelope.parse(entry.envelope).payload)
    record = Statement.parse(payload).predicate.model_copy(update=changes)
    log.entries[position] = replace(entry, envelope=seal(encode_statement(record), signer))
    return log


def flip(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[10] ^= 1
    return base64.b64encode(data).decode("ascii")


# Whoever only has the file.


@attack("MALFORMED", "header")
def nothing_at_all() -> Made:
    return []


@attack("SCHEMA_VIOLATION", "header")
def header_with_one_more_field() -> Made:
    lines = make_genuine().lines()
    return [change(lines[0], comment="trust me"), *lines[1:]]


@attack("MALFORMED", "header")
def header_with_a_blank() -> Made:
    lines = make_genuine().lines()
    return [lines[0].replace(b",", b", ", 1), *lines[1:]]


@attack("TOO_LARGE", "header")
def header_without_end() -> Made:
    lines = make_genuine().lines()
    return [lines[0][:-1] + b" " * ExportHeader.MAX_BYTES, *lines[1:]]


@attack("BAD_CHECKPOINT", "checkpoint")
def no_checkpoint() -> Made:
    return make_genuine().lines(checkpoint="none")


@attack("BAD_CHECKPOINT", "log signature")
def checkpoint_with_another_size() -> Made:
    log = make_genuine()
    return log.lines(checkpoint=log.checkpoint().replace("\n8\n", "\n7\n"))


@attack("BAD_CHECKPOINT", "log signature")
def log_of_the_same_name_with_another_key() -> Made:
    return make_genuine(log=make_log()).lines()


@attack("WRONG_ORIGIN", "log")
def another_log() -> Made:
    return make_genuine(log=make_log("weos-engine/ledger/elsewhere")).lines()


@attack("WRONG_ORIGIN", "log")
def trust_without_logs() -> Made:
    return make_genuine().lines(), TRUST.model_copy(update={"logs": ()})


@attack("MALFORMED", "entries")
def line_of_something_else() -> Made:
    lines = make_genuine().lines()
    return [*lines[:3], b"no entry\n", *lines[4:]]


@attack("MALFORMED", "entries")
def line_with_a_repeated_key() -> Made:
    lines = make_genuine().lines()
    return [*lines[:3], b'{"position":2,' + lines[3][1:], *lines[4:]]


@attack("MALFORMED", "entries")
def last_line_without_its_end() -> Made:
    lines = make_genuine().lines()
    return [*lines[:-1], lines[-1][:-1]]


@attack("SCHEMA_VIOLATION", "entries")
def line_with_one_more_field() -> Made:
    lines = make_genuine().lines()
    return [*lines[:3], change(lines[3], note=1), *lines[4:]]


@attack("OUT_OF_RANGE", "entries")
def line_with_a_number_beyond_what_is_exact() -> Made:
    lines = make_genuine().lines()
    return [*lines[:3], lines[3].replace(b'"position":2', b'"position":9007199254740993'), *lines[4:]]


@attack("TOO_LARGE", "entries")
def line_without_end() -> Made:
    lines = make_genuine().lines()
    return [*lines[:3], b" " * (LedgerEntryView.MAX_BYTES + 2), *lines[4:]]


@attack("SIGNATURE_COUNT", "entries")
def envelope_with_two_signatures() -> Made:
    lines = make_genuine().lines()
    envelope = json.loads(lines[3])["envelope"]
    envelope["signatures"] *= 2
    return [*lines[:3], change(lines[3], envelope=envelope), *lines[4:]]


@attack("MALFORMED", "entries")
def envelope_with_a_short_signature() -> Made:
    lines = make_genuine().lines()
    envelope = json.loads(lines[3])["envelope"]
    return [*lines[:3], change(lines[3], envelope=envelope | {"signatures": [{"sig": "AAAA"}]}), *lines[4:]]


@attack("INCONSISTENT", "entries")
def bit_of_a_record_flipped() -> Made:
    lines = make_genuine().lines()
    envelope = json.loads(lines[3])["envelope"]
    envelope["payload"] = flip(envelope["payload"])
    return [*lines[:3], change(lines[3], envelope=envelope), *lines[4:]]


@attack("INCONSISTENT", "entries")
def signature_of_another_record() -> Made:
    lines = make_genuine().lines()
    envelope, other = json.loads(lines[3])["envelope"], json.loads(lines[4])["envelope"]
    return [*lines[:3], change(lines[3], envelope=envelope | {"signatures": other["signatures"]}), *lines[4:]]


@attack("INCONSISTENT", "entries")
def leaf_with_another_digest() -> Made:
    lines = make_genuine().lines()
    return [*lines[:3], change_leaf(lines[3], statement_sha256="0" * 64), *lines[4:]]


@attack("INCONSISTENT", "entries")
def entries_reordered() -> Made:
    lines = make_genuine().lines()
    return [*lines[:3], lines[4], lines[3], *lines[5:]]


@attack("INCONSISTENT", "entries")
def entry_deleted() -> Made:
    lines = make_genuine().lines()
    return [*lines[:3], *lines[4:]]


@attack("INCONSISTENT", "tree")
def entries_reordered_and_renumbered() -> Made:
    lines = make_genuine().lines()
    return renumber([*lines[:3], lines[4], lines[3], *lines[5:]])


@attack("INCONSISTENT", "tree")
def execution_deleted_and_renumbered() -> Made:
    lines = make_genuine().lines()
    return renumber([*lines[:5], *lines[7:]])


@attack("INCONSISTENT", "tree")
def export_truncated() -> Made:
    return make_genuine().lines()[:-2]


@attack("INCONSISTENT", "tree")
def entry_appended() -> Made:
    log = make_genuine()
    checkpoint = log.checkpoint()
    log.start(5)
    log.end(5)
    return log.lines(checkpoint=checkpoint, entries=8)


@attack("INCONSISTENT", "tree")
def header_with_another_number_of_entries() -> Made:
    return make_genuine().lines(entries=9)


@attack("INCONSISTENT", "tree")
def leaf_rewritten_with_its_envelope() -> Made:
    log = make_genuine()
    checkpoint = log.checkpoint()
    return resealed(log, 3, finished_at="2026-01-31T12:00:09.000Z").lines(checkpoint=checkpoint)


def make_genuine_twin(log: GenuineLog) -> str:
    """A genuine checkpoint of as many entries as another log has, and of another root."""
    twin = log.copy()
    twin.entries[0], twin.entries[1] = twin.entries[1], twin.entries[0]
    return twin.checkpoint()


# Whoever has the log's key, and signs a checkpoint over what he likes.


@attack("BAD_SIGNATURE", "statements")
def record_signed_by_a_stranger() -> Made:
    return resealed(make_genuine(), 3, make_signer()).lines()


@attack("BAD_SIGNATURE", "statements")
def started_statement_signed_by_a_stranger() -> Made:
    log = make_genuine()
    forged = GenuineLog(signer=make_signer())
    log.entries[0] = forged.start(1)
    return log.lines()


@attack("KEY_VERSION_MISMATCH", "statements")
def record_of_another_version() -> Made:
    log = make_genuine()
    version = "0.1.0+dev.ffffffffffff"
    log.entries[3] = GenuineLog(version=version).end(1)
    return log.lines()


@attack("KEY_VERSION_MISMATCH", "statements")
def started_statement_of_another_version() -> Made:
    log = make_genuine()
    log.entries[0] = GenuineLog(version="0.1.0+dev.ffffffffffff").start(1)
    return log.lines()


@attack("METRIC_INCONSISTENT", "statements")
def record_with_forged_ratios() -> Made:
    log = make_genuine()
    payload = base64.b64decode(Envelope.parse(log.entries[3].envelope).payload)
    metrics = Statement.parse(payload).predicate.metrics
    assert metrics is not None
    return resealed(log, 3, metrics=metrics.model_copy(update={"tokens_per_sec": 999.0})).lines()


@attack("UNSUPPORTED_TYPE", "statements")
def envelope_of_another_type() -> Made:
    log = make_genuine()
    envelope = Envelope.parse(log.entries[3].envelope).model_copy(update={"payloadType": "text/plain"})
    log.entries[3] = replace(log.entries[3], envelope=envelope.encode())
    return log.lines()


@attack("SCHEMA_VIOLATION", "statements")
def record_in_the_place_of_a_started_statement() -> Made:
    log = make_genuine()
    log.entries[0] = replace(log.entries[3], kind="started")
    return log.lines()


@attack("ID_MISMATCH", "identities")
def leaf_that_names_another_execution() -> Made:
    log = make_genuine()
    log.entries[3] = replace(log.entries[3], execution_id=execution_id(9))
    return log.lines()


@attack("ID_MISMATCH", "identities")
def record_of_another_plan_than_was_started() -> Made:
    log = make_genuine()
    log.entries.pop(3)
    log.entries.insert(3, log.end(1, seed=7))
    log.entries.pop()
    return log.lines()


@attack("ID_MISMATCH", "identities")
def record_with_another_number_than_was_started() -> Made:
    log = make_genuine()
    log.entries[3] = GenuineLog().end(1, seq=2)
    return log.lines()


@attack("DUPLICATE_ID", "identities")
def execution_that_ended_twice() -> Made:
    log = make_genuine()
    log.end(4)
    return log.lines()


@attack("DUPLICATE_ID", "identities")
def execution_that_was_accepted_twice() -> Made:
    log = make_genuine()
    log.start(4, seq=5)
    return log.lines()


@attack("INCONSISTENT", "identities")
def record_without_a_started_statement() -> Made:
    log = make_genuine()
    log.end(5)
    return log.lines()


@attack("DUPLICATE_ID", "sequence")
def number_given_twice() -> Made:
    log = make_genuine()
    log.start(5, seq=4)
    log.end(5, seq=4)
    return log.lines()


@attack("MISSING_RESULT", "sequence")
def execution_left_out_altogether() -> Made:
    log = GenuineLog()
    for number in (1, 3):
        log.start(number)
        log.end(number)
    return log.lines()


@attack("MISSING_RESULT", "results")
def result_left_out() -> Made:
    log = make_genuine()
    log.entries.pop(5)
    return log.lines()


@attack("MISSING_RESULT", "results")
def result_left_out_and_not_named() -> Made:
    log = make_genuine()
    log.entries.pop(5)
    return log.lines(open=())


@attack("ID_MISMATCH", "results")
def execution_under_way_with_another_plan() -> Made:
    log = make_genuine()
    log.start(5, seed=7)
    return log.lines()


@attack("INCONSISTENT", "results")
def ended_execution_named_as_under_way() -> Made:
    log = make_genuine()
    before = make_genuine()
    before.entries.pop(5)
    return log.lines(open=before.header().open)


# Whoever shows different logs to different people, or at different times.


def seen(note: str) -> Trust:
    return TRUST.model_copy(update={"checkpoint": note})


@attack("ROLLBACK", "last seen")
def log_shorter_than_it_was() -> Made:
    log = make_genuine()
    longer = log.copy()
    longer.start(5)
    return log.lines(), seen(longer.checkpoint())


@attack("FORK", "last seen")
def another_log_of_the_same_size() -> Made:
    log = make_genuine()
    return log.lines(), seen(make_genuine_twin(log))


@attack("FORK", "last seen")
def past_rewritten_under_a_longer_log() -> Made:
    log = make_genuine()
    shorter = GenuineLog(entries=log.entries[:4])
    return log.lines(), seen(make_genuine_twin(shorter))


@attack("BAD_CHECKPOINT", "last seen")
def trust_with_a_checkpoint_of_a_stranger() -> Made:
    log = make_genuine()
    return log.lines(), seen(log.copy(log=make_log()).checkpoint())


# Released versions, which the root vouches for.

ROOTED = TRUST.model_copy(update={"keys": (), "root": make_keyring()})
RELEASED: dict[str, Any] = {"version": VERSION, "signer": VERSION_KEY, "manifest": make_release().digest}


def vouched(*, manifests: tuple[bytes, ...] | None = None, revocations: tuple[bytes, ...] = ()) -> dict[str, Any]:
    """What the header of a released version's log brings."""
    return {
        "keyrings": (Envelope.parse(sealed_keyring(make_keyring())),),
        "manifests": tuple(map(Envelope.parse, (sealed_manifest(),) if manifests is None else manifests)),
        "revocations": tuple(map(Envelope.parse, revocations)),
    }


@attack("UNTRUSTED_MANIFEST", "releases")
def manifest_of_a_home_made_root() -> Made:
    return make_genuine(**RELEASED).lines(
        **vouched(manifests=(sealed_manifest(make_manifest(), make_signer()),))
    ), ROOTED


@attack("UNTRUSTED_MANIFEST", "statements")
def no_manifest() -> Made:
    return make_genuine(**RELEASED).lines(**vouched(manifests=())), ROOTED


@attack("INCONSISTENT", "releases")
def two_manifests_of_one_version() -> Made:
    other = sealed_manifest(make_manifest(validation="sha256:" + "0" * 64))
    return make_genuine(**RELEASED).lines(**vouched(manifests=(sealed_manifest(), other))), ROOTED


@attack("ROOT_ROLLBACK", "releases")
def keyring_older_than_the_trusted_one() -> Made:
    newer = make_keyring(root_key(make_signer()), version=2)
    return make_genuine(**RELEASED).lines(**vouched()), ROOTED.model_copy(update={"root": newer})


@attack("BAD_SIGNATURE", "releases")
def revocation_that_the_root_did_not_sign() -> Made:
    forged = sealed_revocation(make_revocation(), make_signer())
    return make_genuine(**RELEASED).lines(**vouched(revocations=(forged,))), ROOTED


@attack("REVOKED", "statements")
def record_after_the_revocation_of_its_version() -> Made:
    revoked = sealed_revocation(make_revocation(from_index=7))
    return make_genuine(**RELEASED).lines(**vouched(revocations=(revoked,))), ROOTED


@attack("REVOKED", "statements")
def start_after_the_revocation_of_its_version() -> Made:
    log = make_genuine(**RELEASED)
    log.start(5)
    revoked = sealed_revocation(make_revocation(from_index=8))
    return log.lines(**vouched(revocations=(revoked,))), ROOTED


@attack("OUT_OF_VALIDITY", "statements")
def statements_older_than_their_version() -> Made:
    later = make_manifest(created_at="2026-02-01T00:00:00.000Z")
    manifest = sealed_manifest(later)
    log = make_genuine(**RELEASED | {"manifest": payload_digest(manifest)})
    return log.lines(**vouched(manifests=(manifest,))), ROOTED


@attack("BAD_SIGNATURE", "statements")
def development_key_under_a_released_version() -> Made:
    return make_genuine(**RELEASED | {"signer": ENGINE}).lines(**vouched()), ROOTED


@attack("BAD_SIGNATURE", "statements")
def released_version_without_its_manifest() -> Made:
    return make_genuine(**RELEASED | {"manifest": None}).lines(**vouched()), ROOTED


@attack("ID_MISMATCH", "statements")
def plan_that_the_version_left_behind_could_not_have_made() -> Made:
    policies = {"power.toml": "sha256:" + "0" * 64}
    log = make_genuine(**RELEASED)
    log.start(5, policies=policies)
    after = GenuineLog(entries=log.entries)
    after.end(5, conclusion=abort_conclusion(), policies=policies, engine_version=VERSION)
    return log.lines(**vouched()), ROOTED.model_copy(update={"keys": TRUST.keys})
