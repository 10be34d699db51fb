"""Genuine ledgers for tests: entries made the way the product makes them, and their export."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from contracts.ledger.bundle import ConsistencyProof, LedgerEntryView
from contracts.ledger.export import ExportHeader, OpenExecution, encode_entry, encode_header
from contracts.ledger.merkle import Frontier, Node, NodeReader, hash_leaf, new_nodes, prove_consistency
from contracts.ledger.note import sign_note
from contracts.ledger.proof import Checkpoint, LeafKind, build_leaf
from contracts.verify.trust import Trust, TrustedKey
from contracts.wire.envelope import Envelope
from supervisor.adapters.identity.keys import FileSigner
from supervisor.adapters.ledger.log_identity import LogIdentity
from supervisor.domain.records.recording import Conclusion, abort_conclusion
from supervisor.execution.recorder import Recorder
from tests.factories import WHEN, in_container, make_conclusion, make_plan, make_signer
from tests.fakes.ledger import make_log

__all__ = [
    "DEVELOPMENT",
    "ENGINE",
    "LOG",
    "TRUST",
    "Entry",
    "GenuineLog",
    "execution_id",
    "make_genuine",
    "prove_extension",
]

DEVELOPMENT = "0.1.0+dev.0123456789ab"
ENGINE = make_signer()
LOG = make_log()
TRUST = Trust(
    schema_version="weos.trust/1",
    keys=(TrustedKey(engine_version=DEVELOPMENT, public_key=ENGINE.public_key),),
    logs=(LOG.verifier.encode(),),
)


def execution_id(number: int) -> str:
    return f"exec_{number:032x}"


@dataclass(frozen=True)
class Entry:
    """What a ledger writes down for one leaf."""

    kind: LeafKind
    seq: int
    execution_id: str
    envelope: bytes
    manifest: str | None = None

    def leaf(self) -> bytes:
        return build_leaf(self.kind, self.seq, self.execution_id, self.envelope, self.manifest).canonical()


@dataclass
class GenuineLog:
    """A ledger whose owner has all its keys, and so can also lie with them."""

    version: str = DEVELOPMENT
    signer: FileSigner = ENGINE
    manifest: str | None = None
    log: LogIdentity = LOG
    entries: list[Entry] = field(default_factory=list)

    @property
    def recorder(self) -> Recorder:
        return Recorder(self.version, self.manifest, self.signer)

    def plan(self, **changes: Any) -> Any:
        return make_plan().model_copy(update={"engine_version": self.version} | changes)

    def start(self, number: int, *, seq: int | None = None, **plan: Any) -> Entry:
        name, seq = execution_id(number), number if seq is None else seq
        sealed = self.recorder.seal_started(name, self.plan(**plan), seq=seq, accepted_at=WHEN)
        self.entries.append(Entry("started", seq, name, sealed, self.manifest))
        return self.entries[-1]

    def end(self, number: int, *, seq: int | None = None, conclusion: Conclusion | None = None, **plan: Any) -> Entry:
        name, seq = execution_id(number), number if seq is None else seq
        _, sealed = self.recorder.record(
            name,
            self.plan(**plan),
            conclusion or in_container(make_conclusion(), number),
            seq=seq,
            accepted_at=WHEN,
            finished_at=WHEN + timedelta(seconds=2),
        )
        self.entries.append(Entry("final", seq, name, sealed, self.manifest))
        return self.entries[-1]

    def checkpoint(self, size: int | None = None) -> str:
        """The signed checkpoint over the first entries."""
        tree = Frontier()
        for entry in self.entries[: len(self.entries) if size is None else size]:
            tree.append(hash_leaf(entry.leaf()))
        text = Checkpoint(self.log.verifier.name, tree.size, tree.root()).text
        return sign_note(text, self.log.verifier, self.log.signer)

    def reader(self) -> NodeReader:
        """Gives the tree's hashes."""
        nodes: dict[tuple[int, int], bytes] = {}

        def keep(added: Iterable[Node]) -> None:
            nodes.update({(level, index): node_hash for level, index, node_hash in added})

        for position, entry in enumerate(self.entries):
            keep(new_nodes(position, hash_leaf(entry.leaf()), lambda level, index: nodes[level, index]))
        return lambda level, index: nodes[level, index]

    def header(self, **changes: Any) -> ExportHeader:
        ended = {entry.execution_id for entry in self.entries if entry.kind == "final"}
        under_way = [each.execution_id for each in self.entries if each.kind == "started"]
        header = ExportHeader(
            schema_version="weos.ledger-export/1",
            checkpoint=self.checkpoint(),
            entries=len(self.entries),
            keyrings=(),
            manifests=(),
            revocations=(),
            open=tuple(OpenExecution(execution_id=each, plan=self.plan()) for each in under_way if each not in ended),
        )
        return header.model_copy(update=changes)

    def lines(self, **changes: Any) -> list[bytes]:
        """The export."""
        views = (
            LedgerEntryView(
                position=position,
                leaf=build_leaf(each.kind, each.seq, each.execution_id, each.envelope, each.manifest),
                envelope=Envelope.parse(each.envelope),
            )
            for position, each in enumerate(self.entries)
        )
        return [encode_header(self.header(**changes)), *map(encode_entry, views)]

    def copy(self, **changes: Any) -> "GenuineLog":
        return replace(self, entries=list(self.entries), **changes)


def make_genuine(**changes: Any) -> GenuineLog:
    """Four executions: two that overlap, one that failed, one by itself."""
    log = GenuineLog(**changes)
    log.start(1)
    log.start(2)
    log.end(2)
    log.end(1)
    log.start(3)
    log.end(3, conclusion=abort_conclusion())
    log.start(4)
    log.end(4)
    return log


def prove_extension(log: GenuineLog, first: int, second: int) -> bytes:
    """The JSON of a consistency proof."""
    hashes = [base64.b64encode(each).decode() for each in prove_consistency(first, second, log.reader())]
    return ConsistencyProof(first=first, second=second, hashes=tuple(hashes)).canonical()
