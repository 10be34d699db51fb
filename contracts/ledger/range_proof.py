"""A range proof: every execution accepted between two sizes of the ledger has its final record.

The proof contains leaves, not envelopes: it shows that a signed result is in the ledger, not what the result says. A
range longer than `RANGE_MAX` is covered by several consecutive proofs; a file has one proof per line.
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

# Maximum number of leaves in one proof. A leaf takes some 450 bytes; a final leaf after the range takes up to 3,500
# with its proof.
RANGE_MAX = 1000

LeafFinder = Callable[[str], tuple[int, bytes] | None]
"""Returns position and bytes of an execution's final leaf, or None if there is no final leaf."""


class LateFinal(Contract):
    """The final leaf of an execution that was accepted within the range and ended after it."""

    position: Count
    """Position of the leaf in the ledger; 0 is the first."""
    leaf: Leaf
    """The final leaf."""
    hashes: Annotated[Many[HashText], Field(max_length=64)]
    """Inclusion proof of the leaf in the ledger of the checkpoint (RFC 9162, 2.1.3): SHA-256 hashes in base64."""


class RangeProof(Contract):
    """The leaves from one size of the ledger to another, and the proof that leads from them to a signed checkpoint."""

    MAX_BYTES: ClassVar[int] = 8_388_608

    schema_version: Literal["weos.range-proof/1"]
    """Kind and version of this document."""
    first: Count
    """Number of ledger entries at which the range begins."""
    second: Count
    """Number of ledger entries at which the range ends."""
    edge: Annotated[Many[HashText], Field(max_length=64)]
    """Hashes of the complete subtrees of the first `first` entries, largest first, in base64. They give the root of the
    ledger at `first`; together with `leaves` they give the root at `second`."""
    leaves: Annotated[Many[Leaf], Field(max_length=RANGE_MAX)]
    """The entries from position `first` up to, but not including, position `second`, in order."""
    late: Annotated[Many[LateFinal], Field(max_length=RANGE_MAX)]
    """Final leaves after the range: one for every execution with its started leaf in the range and its final leaf after
    it."""
    checkpoint: ProofText
    """The newest signed checkpoint (C2SP tlog-checkpoint), of `second` entries or more."""
    consistency: Annotated[Many[HashText], Field(max_length=64)]
    """Consistency proof from the ledger of `second` entries to the ledger of the checkpoint (RFC 9162, 2.1.4): SHA-256
    hashes in base64."""


def _encode(hashes: list[bytes]) -> tuple[str, ...]:
    return tuple(base64.b64encode(each).decode("ascii") for each in hashes)


def build_range_proof(
    first: int, leaves: tuple[bytes, ...], read: NodeReader, find_final: LeafFinder, *, note: str, size: int
) -> RangeProof:
    """Return the proof of a range that is not empty.

    Args:
        first: position of the first leaf.
        leaves: leaves of the range in RFC 8785 form, at most `RANGE_MAX`.
        read: returns hashes of the tree.
        find_final: looks up a final leaf in the whole ledger.
        note: the newest checkpoint.
        size: number of entries of that checkpoint.
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
