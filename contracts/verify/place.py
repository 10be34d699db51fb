"""Verify the place of an execution in a ledger: both its leaves, their order, and the checkpoint. Pure."""

from dataclasses import dataclass

from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.started_record import StartedRecord
from contracts.ledger.merkle import hash_leaf, inclusion_root
from contracts.ledger.note import Note, Verifier
from contracts.ledger.proof import Checkpoint, InclusionProof, LeafKind, build_leaf, parse_proof
from contracts.verify.checkpoint import (
    Witnessed,
    compare_with_seen,
    find_cosignatures,
    read_seen,
    require_log_signature,
    require_origin,
)
from contracts.verify.checks import CheckFailed, Checks, code_of
from contracts.verify.trust import Trust
from contracts.wire.envelope import Envelope
from contracts.wire.errors import ContractError

__all__ = ["PLACE_CHECKS", "LedgerTrust", "Place", "StatedLeaf", "check_place", "read_stated_leaf"]

PLACE_CHECKS = (
    "origin",
    "checkpoint",
    "one checkpoint",
    "started included",
    "record included",
    "order",
    "last checkpoint",
    "witness",
)


@dataclass(frozen=True, slots=True)
class LedgerTrust:
    """The keys of a trust file that count for ledgers."""

    trust: Trust
    logs: tuple[Verifier, ...]
    witnesses: tuple[Verifier, ...]


@dataclass(frozen=True, slots=True)
class StatedLeaf:
    """An envelope, with the inclusion proof that claims to prove its leaf."""

    kind: LeafKind
    envelope: bytes
    """The bytes that the ledger stores."""
    proof: InclusionProof
    note: Note
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Place:
    """The verified place of an execution in a ledger."""

    checkpoint: Checkpoint
    positions: tuple[int, int]
    """Indices of the started leaf and the final leaf."""
    leaf_hashes: tuple[bytes, bytes]
    """Their hashes in the Merkle tree."""
    seen: Checkpoint | None
    """The checkpoint of this ledger in the caller's trust; None if there is none."""
    witnesses: tuple[Witnessed, ...]


def read_stated_leaf(kind: LeafKind, envelope: Envelope, proof: str) -> StatedLeaf:
    """Read a proof, without verifying it.

    Raises:
        CheckFailed: ``TOO_LARGE`` or ``MALFORMED``.
    """
    try:
        return StatedLeaf(kind, envelope.encode(), *parse_proof(proof.encode("utf-8")))
    except ContractError as error:
        raise CheckFailed(code_of(error), f"the proof of the {kind} leaf: {error}") from error


def _hash_leaf(stated: StatedLeaf, statement: MetricsRecord | StartedRecord) -> bytes:
    leaf = build_leaf(stated.kind, statement.seq, statement.execution_id, stated.envelope, statement.manifest)
    return hash_leaf(leaf.canonical())


def _require_included(stated: StatedLeaf, leaf_hash: bytes) -> str:
    index, checkpoint = stated.proof.index, stated.checkpoint
    if inclusion_root(leaf_hash, index, checkpoint.size, stated.proof.hashes) != checkpoint.root:
        detail = f"the {stated.kind} leaf at index {index} and its proof do not lead to the checkpoint's root"
        raise CheckFailed("BAD_INCLUSION", detail)
    return f"index {index} of {checkpoint.size}, {len(stated.proof.hashes)} hashes"


def _require_one_checkpoint(started: StatedLeaf, final: StatedLeaf) -> str:
    one, other = started.checkpoint, final.checkpoint
    if (one.origin, one.size) == (other.origin, other.size) and one.root != other.root:
        raise CheckFailed("FORK", f"the two proofs lead to two roots over {one.size} entries; keep them as evidence")
    if started.proof.checkpoint != final.proof.checkpoint:
        raise CheckFailed("INCONSISTENT", "the two proofs carry different checkpoints, and nothing connects them")
    return "both proofs carry the same checkpoint"


def _require_order(started: StatedLeaf, final: StatedLeaf, seq: int) -> str:
    first, second = started.proof.index, final.proof.index
    if first >= second:
        raise CheckFailed(
            "INCONSISTENT", f"the record is at index {second}, before the statement of its start at {first}"
        )
    # The starts of all numbers below n come before the start of number n, and each may have its record there too.
    if not seq - 1 <= first <= 2 * (seq - 1):
        raise CheckFailed("INCONSISTENT", f"the start of execution {seq} cannot be at index {first}")
    return f"started at {first}, ended at {second}"


def check_place(
    checks: Checks,
    started: tuple[StatedLeaf, StartedRecord],
    final: tuple[StatedLeaf, MetricsRecord],
    ledgers: LedgerTrust,
) -> Place:
    """Make the ``PLACE_CHECKS``.

    Args:
        checks: takes the results.
        started: the leaf of the statement that the execution was accepted, and the verified statement.
        final: the leaf of the record, and the verified record.
        ledgers: the ledgers and witnesses that the caller trusts.
    """
    checks.begin("origin")
    leaves = (started[0], final[0])
    for leaf in leaves:
        origin = require_origin(ledgers.logs, leaf.checkpoint)
    checks.hold(origin)
    checks.begin("checkpoint")
    # Both usually carry the same checkpoint; its signature is then verified once.
    for note, checkpoint in dict.fromkeys((leaf.note, leaf.checkpoint) for leaf in leaves):
        message = require_log_signature(ledgers.logs, note, checkpoint)
    checks.hold(message)
    checks.begin("one checkpoint")
    checks.hold(_require_one_checkpoint(*leaves))
    checks.begin("started included")
    hashes = (_hash_leaf(*started), _hash_leaf(*final))
    checks.hold(_require_included(leaves[0], hashes[0]))
    checks.begin("record included")
    checks.hold(_require_included(leaves[1], hashes[1]))
    checks.begin("order")
    checks.hold(_require_order(*leaves, final[1].seq))
    checks.begin("last checkpoint")
    checkpoint = final[0].checkpoint
    seen = read_seen(ledgers.trust, ledgers.logs, origin)
    checks.hold(compare_with_seen(checkpoint, seen))
    checks.begin("witness")
    witnesses = find_cosignatures(ledgers.witnesses, final[0].note)
    checks.hold(", ".join(each.name for each in witnesses) or "none")
    return Place(checkpoint, (leaves[0].proof.index, leaves[1].proof.index), hashes, seen, witnesses)
