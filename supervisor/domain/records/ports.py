"""The interface of the ledger and the values it stores and returns; implemented in `supervisor.adapters.ledger`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from contracts.execution.execution_plan import ExecutionPlan
from contracts.ledger.proof import InclusionProof, LeafKind
from contracts.ledger.range_proof import RangeProof
from supervisor.domain.access.usage import Usage

__all__ = ["FinalEntry", "LedgerEntry", "LedgerPort", "StartedEntry", "StoredRun"]


@dataclass(frozen=True, slots=True)
class StartedEntry:
    """One accepted execution, which must be durable before anything runs."""

    execution_id: str
    plan: ExecutionPlan
    prompt: str = field(repr=False)
    accepted_at: datetime
    idempotency_key: str | None
    request_digest: str
    seal: Callable[[int], bytes] = field(repr=False)
    """Returns the signed statement that it was accepted, given its number in the ledger."""


@dataclass(frozen=True, slots=True)
class FinalEntry:
    """One ended execution: its signed envelope, and its output text."""

    execution_id: str
    outcome: str
    envelope: bytes
    output: str | None = field(repr=False)
    finished_on: str
    """The day of its end, as YYYY-MM-DD in UTC."""
    usage: Usage
    """What its record says that it used."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One stored execution; ``envelope`` and ``outcome`` are None until it has ended."""

    seq: int
    execution_id: str
    plan: ExecutionPlan
    accepted_at: datetime
    request_digest: str
    started_envelope: bytes
    outcome: str | None
    envelope: bytes | None
    output: str | None = field(repr=False)
    are_texts_erased: bool = False


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One leaf of the log in RFC 8785 form, and the signed envelope that it commits to."""

    position: int
    leaf: bytes
    envelope: bytes


class LedgerPort(Protocol):
    """The append-only store of executions and their records. Every method raises ``StorageError`` on failure."""

    async def append_started(self, entry: StartedEntry) -> int:
        """Make an accepted execution durable and return its number. Numbers start at 1 and have no gaps."""
        ...

    async def append_final(self, entry: FinalEntry) -> None:
        """Make the record of an execution durable. Each execution has exactly one."""
        ...

    async def erase_texts(self, accepted_before: datetime) -> int:
        """Erase prompts and outputs of ended executions, and return of how many; entries and proofs stay."""
        ...

    async def find(self, execution_id: str) -> StoredRun | None:
        """Return one execution, or None if there is none of this id."""
        ...

    async def find_by_key(self, caller: str, idempotency_key: str) -> StoredRun | None:
        """Return the execution that a caller asked for under a key, or None if there is none."""
        ...

    async def page(self, *, before: str | None, limit: int, caller: str | None) -> tuple[StoredRun, ...]:
        """Return executions of one caller, or of all (None), newest first, without their envelopes and outputs."""
        ...

    async def unfinished(self) -> tuple[StoredRun, ...]:
        """Return every execution that has no final record."""
        ...

    async def usage_on(self, day: str) -> Mapping[str, Usage]:
        """Return what the executions that ended on a day used, by the name of their caller."""
        ...

    async def checkpoint(self) -> str:
        """Return the newest signed checkpoint, in C2SP tlog-checkpoint form."""
        ...

    async def prove(self, execution_id: str, kind: LeafKind) -> InclusionProof:
        """Return the proof that an entry is in the log.

        Raises:
            Refusal: ``ledger_entry_not_found``.
        """
        ...

    async def prove_both(self, execution_id: str) -> tuple[InclusionProof, InclusionProof]:
        """Return the proofs of both entries of an ended execution, `started` first, under one checkpoint.

        Raises:
            Refusal: ``ledger_entry_not_found``.
        """
        ...

    async def prove_consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """Return the hashes that prove that the log of ``first`` entries is a prefix of the log of ``second`` entries.

        Raises:
            Refusal: ``ledger_range_unknown``.
        """
        ...

    async def prove_range(self, first: int, second: int) -> RangeProof:
        """Return the proof, under the newest checkpoint, that all executions accepted between two log sizes have ended.

        Raises:
            Refusal: ``ledger_range_unknown``.
        """
        ...

    async def entries(self, *, start: int, limit: int) -> tuple[LedgerEntry, ...]:
        """Return the entries from position ``start`` on, in order."""
        ...
