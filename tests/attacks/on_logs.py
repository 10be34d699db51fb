"""Attacks on the export of a ledger, each made from a genuine one, with the code that it must get.

Here are the attacks by someone who only has the file. `on_logs_by_their_owner` and `on_released_logs` add theirs to
`ATTACKS` when they are imported.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from contracts.execution.metrics_record import Statement
from contracts.ledger.bundle import LedgerEntryView
from contracts.ledger.export import ExportHeader
from contracts.verify.trust import Trust
from contracts.wire.canonical import canonical_bytes
from contracts.wire.envelope import Envelope, seal
from supervisor.domain.records.recording import encode_statement
from tests.attacks.logs import ENGINE, TRUST, GenuineLog, make_genuine
from tests.fakes.ledger import make_log

__all__ = ["ATTACKS", "Attack", "Made", "attack", "make_genuine_twin", "resealed"]


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


# Attackers who only have the file.


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
