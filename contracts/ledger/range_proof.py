"""A range proof: between two sizes of the ledger every execution that was accepted has its final record.

It holds leaves, not envelopes: what is shown is that a signed result is in the ledger, not what it says. Ranges that
are longer than `RANGE_MAX` are several proofs that follow on each other; in a file one proof is one line.
"""

import base64
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from contracts.ledger.bundle import HashText, ProofText
from contracts.ledger.merkle import NodeReader, prove_consistency, prove_inclusion, subtree_places
from contracts.ledger.proof import Leaf
from contracts.wire.document import Contract, Many
from contracts.wire.types import Count

__all__ = ["RANGE_MAX", "LateFinal", "RangeProof", "build_range_proof"]

# Leaves of one proof. A leaf takes some 450 bytes, a final one outside of the range up to 3,500 with its proof.
RANGE_MAX = 1000

LeafFinder = Callable[[str], tuple[int, bytes] | None]
"""Gives position and bytes of an execution's final leaf; None: it has none."""


class LateFinal(Contract):
    """The final leaf of an execution that was accepted within the range and ended after it."""

    position: Count
    """Its place in the ledger, from 0."""
    leaf: Leaf
    """The leaf."""
    hashes: Annotated[Many[HashText], Field(max_length=64)]
    """Its inclusion proof in the ledger of the checkpoint (RFC 9162, 2.1.3)."""


class RangeProof(Contract):
    """The leaves from one size of the ledger to another, and what leads from them to a signed checkpoint."""

    MAX_BYTES: ClassVar[int] = 8_388_608

    schema_version: Literal["weos.range-proof/1"]
    """Kind and version of this document."""
    first: Count
    """Entries of the ledger where the range begins."""
    second: Count
    """Entries of the ledger where it ends."""
    edge: Annotated[Many[HashText], Field(max_length=64)]
    """Hashes of the complete subtrees that the first `first` entries come to, largest first. They give the root at
    `first`, and with the leaves the one at `second`."""
    leaves: Annotated[Many[Leaf], Field(max_length=RANGE_MAX)]
    """The entries from position `first` to before `second`, in order."""
    late: Annotated[Many[LateFinal], Field(max_length=RANGE_MAX)]
    """For every execution with its started entry in the range and its final one after it: the latter."""
    checkpoint: ProofText
    """The newest signed checkpoint, of `second` entries or more: C2SP tlog-checkpoint."""
    consistency: Annotated[Many[HashText], Field(max_length=64)]
    """Leads from the ledger of `second` entries to the checkpoint's (RFC 9162, 2.1.4)."""


def _encode(hashes: list[bytes]) -> tuple[str, ...]:
    return tuple(base64.b64encode(each).decode("ascii") for each in hashes)


def build_range_proof(
    first: int, leaves: tuple[bytes, ...], read: NodeReader, find_final: LeafFinder, *, note: str, size: int
) -> RangeProof:
    """Return the proof of a range that is not empty.

    Args:
        first: where it begins.
        leaves: its leaves in RFC 8785 form, at most `RANGE_MAX`.
        read: gives the tree's hashes.
        find_final: looks up a final leaf in the whole ledger.
        note: the newest checkpoint.
        size: its entries.
    """
    second = first + len(leaves)
    parsed = tuple(map(Leaf.parse, leaves))
    ended = {leaf.execution_id for leaf in parsed if leaf.kind == "final"}
    late = []
    for leaf in parsed:
        found = find_final(leaf.execution_id) if leaf.kind == "started" and leaf.execution_id not in ended else None
        if found is not None and found[0] < size:
            hashes = _encode(prove_inclusion(found[0], size, read))
            late.append(LateFinal(position=found[0], leaf=Leaf.parse(found[1]), hashes=hashes))
    return RangeProof(
        schema_version="weos.range-proof/1",
        first=first,
        second=second,
        edge=_encode([read(*place) for place in subtree_places(first)]),
        leaves=parsed,
        late=tuple(late),
        checkpoint=note,
        consistency=_encode(prove_consistency(second, size, read)),
    )
