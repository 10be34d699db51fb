"""Write a ledger as an export, and make a ledger of one."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord, Statement
from contracts.execution.started_record import StartedStatement
from contracts.ledger.bundle import LedgerEntryView
from contracts.ledger.export import ExportHeader, encode_entry, encode_header
from contracts.ledger.proof import Leaf
from contracts.wire.envelope import Envelope, decode_base64
from supervisor.adapters.files import replaced
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.ledger.reader import LedgerReader
from supervisor.adapters.ledger.schema import SCHEMA, SCHEMA_VERSION
from supervisor.adapters.ledger.tree import LedgerTree
from supervisor.domain.access.usage import day_of, usage_of

__all__ = ["ReleaseDocuments", "build_ledger", "export_lines", "read_documents"]


@dataclass(frozen=True, slots=True)
class ReleaseDocuments:
    """What a home knows of released versions, as envelopes."""

    keyrings: tuple[bytes, ...] = ()
    manifests: tuple[bytes, ...] = ()
    revocations: tuple[bytes, ...] = ()


def read_documents(store: ReleaseStore) -> ReleaseDocuments:
    """Return every document that a home has of its releases."""
    versions = store.versions()

    def read_all(name: str) -> tuple[bytes, ...]:
        found = (store.read(version, name) for version in versions)
        return tuple(data for data in found if data is not None)

    return ReleaseDocuments(store.keyrings(), read_all("manifest.json"), read_all("revocation.json"))


def _parse_all(documents: tuple[bytes, ...]) -> tuple[Envelope, ...]:
    return tuple(map(Envelope.parse, documents))


def export_lines(reader: LedgerReader, releases: ReleaseDocuments) -> Iterator[bytes]:
    """Give the lines of an export, one at a time."""
    yield encode_header(
        ExportHeader(
            schema_version="weos.ledger-export/1",
            checkpoint=reader.note,
            entries=reader.checkpoint.size,
            keyrings=_parse_all(releases.keyrings),
            manifests=_parse_all(releases.manifests),
            revocations=_parse_all(releases.revocations),
            open=reader.open_executions(),
        )
    )
    for entry in reader.entries():
        leaf, envelope = Leaf.parse(entry.leaf), Envelope.parse(entry.envelope)
        yield encode_entry(LedgerEntryView(position=entry.position, leaf=leaf, envelope=envelope))


class LedgerBuilder:
    """Fills an empty database with the entries of an export that are verified one by one."""

    def __init__(self, connection: sqlite3.Connection, header: ExportHeader) -> None:
        self._connection = connection
        self._note = header.checkpoint
        self._open = {each.execution_id: each.plan for each in header.open}
        self._waiting: dict[str, tuple[int, str, bytes]] = {}
        self._tree = LedgerTree(connection)

    def add(self, leaf: Leaf, envelope: Envelope) -> None:
        """Write one entry; it is the next one, and verified."""
        payload, stored = decode_base64(envelope.payload), envelope.encode()
        if leaf.kind == "started":
            accepted_at = StartedStatement.parse(payload).predicate.accepted_at
            self._waiting[leaf.execution_id] = (leaf.seq, accepted_at, stored)
        else:
            self._end(Statement.parse(payload).predicate, stored)
        self._tree.append(leaf.execution_id, leaf.kind, leaf.canonical())
        self._tree.adopt()

    def finish(self) -> None:
        """Write what is still open, and the checkpoint."""
        for execution_id in list(self._waiting):
            self._begin(execution_id, self._open[execution_id])
        self._connection.execute("INSERT INTO checkpoint VALUES (1, ?)", (self._note,))

    def _begin(self, execution_id: str, plan: ExecutionPlan) -> None:
        seq, accepted_at, envelope = self._waiting.pop(execution_id)
        # The log holds neither requests nor their keys and texts. Without a key nobody asks for the request's digest.
        values = (
            seq,
            execution_id,
            plan.canonical().decode("utf-8"),
            "",
            plan.caller,
            None,
            datetime.fromisoformat(accepted_at).isoformat(),
            envelope,
        )
        self._connection.execute("INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _end(self, record: MetricsRecord, envelope: bytes) -> None:
        self._begin(record.execution_id, record.plan)
        values = (record.execution_id, record.outcome, envelope)
        self._connection.execute("INSERT INTO records VALUES (?, ?, ?)", values)
        usage = usage_of(record)
        used = (record.execution_id, record.plan.caller, day_of(record.finished_at), usage.tokens, usage.energy_uj)
        self._connection.execute("INSERT INTO usage VALUES (?, ?, ?, ?, ?)", used)


@contextmanager
def build_ledger(path: Path, header: ExportHeader) -> Iterator[LedgerBuilder]:
    """Give a builder; the ledger is in place, durably, when the block has ended well, and nowhere if not."""
    with replaced(path) as beside:
        connection = sqlite3.connect(beside, isolation_level=None)
        try:
            # Nothing of it counts before it is whole, so there is no journal; the file is synced once, at the end.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(f"{SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; BEGIN;")
            builder = LedgerBuilder(connection, header)
            yield builder
            builder.finish()
            connection.execute("COMMIT")
        finally:
            connection.close()
