"""A ledger in memory: the stand-in for `LedgerPort`."""

from datetime import datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.ledger.merkle import hash_leaf, new_nodes, prove_consistency, prove_inclusion, root_of
from contracts.ledger.note import sign_note, verifier_of
from contracts.ledger.proof import Checkpoint, InclusionProof, Leaf, LeafKind, build_leaf
from contracts.ledger.range_proof import RangeProof, build_range_proof
from supervisor.adapters.identity.keys import FileSigner
from supervisor.adapters.ledger.log_identity import LogIdentity
from supervisor.domain.access.usage import NOTHING, Usage
from supervisor.domain.errors import Refusal, StorageError
from supervisor.domain.records.ports import FinalEntry, LedgerEntry, StartedEntry, StoredRun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["FakeLedger", "make_log"]


def make_log(name: str = "weos-engine/ledger/test") -> LogIdentity:
    """A ledger's name and key, made for the test."""
    signer = FileSigner(Ed25519PrivateKey.generate())
    return LogIdentity(verifier_of(name, signer.key), signer, None)


class FakeLedger:
    """A store in memory that can be full; see `LedgerPort`."""

    def __init__(self) -> None:
        self.started: dict[str, StartedEntry] = {}
        self.final: dict[str, FinalEntry] = {}
        self.full_for_started = False
        self.full_for_final = False
        self.broken_for_started = False
        self.broken_for_final = False
        self.unreadable = False
        self.before_append_started: Callable[[], Awaitable[object]] | None = None
        self.after_append_started: Callable[[], Awaitable[object]] | None = None
        self.before_append_final: Callable[[], Awaitable[object]] | None = None
        self.after_find_by_key: Callable[[], Awaitable[object]] | None = None
        self.misuse: list[str] = []
        self.erased: set[str] = set()
        self.log = make_log()
        self.entries_written: list[LedgerEntry] = []
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._started_envelopes: dict[str, bytes] = {}

    def _require_room(self, full: bool, broken: bool = False) -> None:
        if full:
            raise StorageError("storage_full", "the ledger cannot be used: disk full")
        if broken:
            message = "a fault that the port does not know"
            raise RuntimeError(message)

    async def append_started(self, entry: StartedEntry) -> int:
        """See `LedgerPort`."""
        if self.before_append_started is not None:
            await self.before_append_started()
        self._require_room(self.full_for_started, self.broken_for_started)
        self.started[entry.execution_id] = entry
        seq = len(self.started)
        self._append_leaf("started", seq, entry.execution_id, entry.seal(seq))
        if self.after_append_started is not None:
            await self.after_append_started()
        return seq

    async def append_final(self, entry: FinalEntry) -> None:
        """See `LedgerPort`."""
        if self.before_append_final is not None:
            await self.before_append_final()
        self._require_room(self.full_for_final, self.broken_for_final)
        if entry.execution_id in self.final or entry.execution_id not in self.started:
            self.misuse.append(entry.execution_id)
            message = "a second final record, or one of an execution that was never accepted"
            raise AssertionError(message)
        self.final[entry.execution_id] = entry
        self._append_leaf("final", self._seq(entry.execution_id), entry.execution_id, entry.envelope)

    def _seq(self, execution_id: str) -> int:
        return list(self.started).index(execution_id) + 1

    def _append_leaf(self, kind: LeafKind, seq: int, execution_id: str, envelope: bytes) -> None:
        leaf = build_leaf(kind, seq, execution_id, envelope, None).canonical()
        position = len(self.entries_written)
        self.entries_written.append(LedgerEntry(position, leaf, envelope))
        if kind == "started":
            self._started_envelopes[execution_id] = envelope
        for level, index, node_hash in new_nodes(position, hash_leaf(leaf), self._read):
            self._nodes[level, index] = node_hash

    def _read(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    async def checkpoint(self) -> str:
        """See `LedgerPort`."""
        self._require_room(self.unreadable)
        size = len(self.entries_written)
        text = Checkpoint(self.log.verifier.name, size, root_of(size, self._read)).text
        return sign_note(text, self.log.verifier, self.log.signer)

    async def prove(self, execution_id: str, kind: LeafKind) -> InclusionProof:
        """See `LedgerPort`."""
        self._require_room(self.unreadable)
        for entry in self.entries_written:
            leaf = Leaf.parse(entry.leaf)
            if (leaf.execution_id, leaf.kind) == (execution_id, kind):
                hashes = prove_inclusion(entry.position, len(self.entries_written), self._read)
                return InclusionProof(entry.position, tuple(hashes), await self.checkpoint())
        raise Refusal("ledger_entry_not_found", "the ledger has no such entry")

    async def prove_both(self, execution_id: str) -> tuple[InclusionProof, InclusionProof]:
        """See `LedgerPort`."""
        return await self.prove(execution_id, "started"), await self.prove(execution_id, "final")

    async def prove_consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """See `LedgerPort`."""
        self._require_room(self.unreadable)
        if not 0 < first <= second <= len(self.entries_written):
            raise Refusal("ledger_range_unknown", "the ledger is not so long")
        return tuple(prove_consistency(first, second, self._read))

    async def prove_range(self, first: int, second: int) -> RangeProof:
        """See `LedgerPort`."""
        self._require_room(self.unreadable)
        size = len(self.entries_written)
        if not 0 <= first <= second <= size or second == 0:
            raise Refusal("ledger_range_unknown", "the ledger is not so long")

        def find_final(execution_id: str) -> tuple[int, bytes] | None:
            for entry in self.entries_written:
                leaf = Leaf.parse(entry.leaf)
                if (leaf.execution_id, leaf.kind) == (execution_id, "final"):
                    return entry.position, entry.leaf
            return None

        leaves = tuple(entry.leaf for entry in self.entries_written[first:second])
        return build_range_proof(first, leaves, self._read, find_final, note=await self.checkpoint(), size=size)

    async def entries(self, *, start: int, limit: int) -> tuple[LedgerEntry, ...]:
        """See `LedgerPort`."""
        self._require_room(self.unreadable)
        return tuple(self.entries_written[start : start + limit])

    def _stored(self, entry: StartedEntry) -> StoredRun:
        final = self.final.get(entry.execution_id)
        return StoredRun(
            seq=self._seq(entry.execution_id),
            execution_id=entry.execution_id,
            plan=entry.plan,
            accepted_at=entry.accepted_at,
            request_digest=entry.request_digest,
            started_envelope=self._started_envelopes.get(entry.execution_id, b""),
            outcome=final.outcome if final else None,
            envelope=final.envelope if final else None,
            output=final.output if final and entry.execution_id not in self.erased else None,
            are_texts_erased=entry.execution_id in self.erased,
        )

    async def erase_texts(self, accepted_before: datetime) -> int:
        """See `LedgerPort`."""
        self._require_room(self.full_for_final)
        old = {each.execution_id for each in self.started.values() if each.accepted_at < accepted_before}
        found = (old & self.final.keys()) - self.erased
        self.erased |= found
        return len(found)

    async def find(self, execution_id: str) -> StoredRun | None:
        """See `LedgerPort`."""
        self._require_room(self.unreadable)
        entry = self.started.get(execution_id)
        return self._stored(entry) if entry else None

    async def find_by_key(self, caller: str, idempotency_key: str) -> StoredRun | None:
        """See `LedgerPort`."""
        self._require_room(self.unreadable)
        wanted = (caller, idempotency_key)
        found = [each for each in self.started.values() if (each.plan.caller, each.idempotency_key) == wanted]
        stored = self._stored(found[0]) if found else None
        if self.after_find_by_key is not None:
            await self.after_find_by_key()
        return stored

    async def page(self, *, before: str | None, limit: int, caller: str | None) -> tuple[StoredRun, ...]:
        """See `LedgerPort`."""
        self._require_room(self.unreadable)
        newest = [self._stored(entry) for entry in reversed(self.started.values())]
        if before is not None:
            ids = [stored.execution_id for stored in newest]
            newest = newest[ids.index(before) + 1 :] if before in ids else []
        newest = [stored for stored in newest if caller in {None, stored.plan.caller}]
        return tuple(newest[:limit])

    async def usage_on(self, day: str) -> dict[str, Usage]:
        """See `LedgerPort`."""
        by_caller: dict[str, Usage] = {}
        for final in self.final.values():
            caller = self.started[final.execution_id].plan.caller
            if final.finished_on == day:
                by_caller[caller] = by_caller.get(caller, NOTHING) + final.usage
        return by_caller

    async def unfinished(self) -> tuple[StoredRun, ...]:
        """See `LedgerPort`."""
        return tuple(self._stored(e) for e in self.started.values() if e.execution_id not in self.final)
