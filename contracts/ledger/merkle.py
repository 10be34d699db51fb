"""The Merkle tree of RFC 9162, section 2.1: hashes, proofs and their verification. Pure.

Trees are read through a function that returns the hash of a complete subtree, given its place. The place ``(level,
index)`` is the subtree of 2**level leaves that begins at leaf ``index * 2**level``. A log of n leaves has at most 2n
such places, each written once and never changed. So a store can keep them all, and every proof is read in O(log n).
"""

import hashlib
from collections.abc import Callable, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "MAX_PROOF_HASHES",
    "Frontier",
    "Node",
    "NodeReader",
    "consistency_holds",
    "hash_children",
    "hash_leaf",
    "inclusion_root",
    "new_nodes",
    "prove_consistency",
    "prove_inclusion",
    "root_of",
    "subtree_places",
]

HASH_BYTES = 32
# A tree of 2**63 leaves is 63 levels high; a consistency proof has at most one hash more.
MAX_PROOF_HASHES = 64
EMPTY_ROOT = hashlib.sha256(b"").digest()

Node = tuple[int, int, bytes]
"""Level, index and hash of one complete subtree."""
NodeReader = Callable[[int, int], bytes]
"""Returns the hash of a complete subtree, given level and index."""


def hash_leaf(leaf: bytes) -> bytes:
    """Return the hash of one leaf (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two nodes (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree of which only the complete subtrees are kept, largest first: O(log n)."""

    def __init__(self, size: int = 0, subtrees: Sequence[bytes] = ()) -> None:
        """Create an empty tree, or continue an older one.

        Args:
            size: number of leaves of the older tree.
            subtrees: hashes of its complete subtrees, largest first: one for each bit that is set in `size`.

        Raises:
            ValueError: the number of hashes does not fit the size.
        """
        if len(subtrees) != size.bit_count():
            message = f"{size} leaves have {size.bit_count()} complete subtrees, not {len(subtrees)}"
            raise ValueError(message)
        self.size = size
        self._subtrees = list(subtrees)

    def append(self, leaf_hash: bytes) -> None:
        """Add the hash of one leaf."""
        self.extend((leaf_hash,))

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Add the hashes of leaves, in order; adding many at once costs a fraction of adding them one by one."""
        nodes, kept, rest = list(leaf_hashes), [], self.size
        self.size += len(nodes)
        # Works like binary addition: at every level an odd node stays, and every pair becomes a node of the next level.
        while nodes or rest:
            if rest & 1:
                nodes.insert(0, self._subtrees.pop())
            if len(nodes) & 1:
                kept.append(nodes.pop())
            nodes = [hash_children(left, right) for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
            rest >>= 1
        self._subtrees = kept[::-1]

    @property
    def subtrees(self) -> tuple[bytes, ...]:
        """The hashes of the complete subtrees, largest first."""
        return tuple(self._subtrees)

    def root(self) -> bytes:
        """Return the root over all leaves."""
        if not self._subtrees:
            return EMPTY_ROOT
        root = self._subtrees[-1]
        for node_hash in reversed(self._subtrees[:-1]):
            root = hash_children(node_hash, root)
        return root


def subtree_places(size: int) -> list[tuple[int, int]]:
    """Return level and index of the complete subtrees of a tree of ``size`` leaves, largest first."""
    levels = (level for level in reversed(range(size.bit_length())) if size >> level & 1)
    return [(level, (size >> level) - 1) for level in levels]


def new_nodes(size: int, leaf_hash: bytes, read: NodeReader) -> list[Node]:
    """Return the subtrees that become complete when a leaf is appended to a tree of ``size`` leaves."""
    nodes = [(0, size, leaf_hash)]
    level, index, node_hash = nodes[0]
    while index % 2 == 1:
        node_hash = hash_children(read(level, index - 1), node_hash)
        level, index = level + 1, index // 2
        nodes.append((level, index, node_hash))
    return nodes


def root_of(size: int, read: NodeReader) -> bytes:
    """Return the root of the first ``size`` leaves."""
    return _range_hash(0, size, read) if size else EMPTY_ROOT


def prove_inclusion(index: int, size: int, read: NodeReader) -> list[bytes]:
    """Return the inclusion proof of leaf ``index`` in the tree of the first ``size`` leaves (RFC 9162, 2.1.3.1).

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        message = f"there is no leaf {index} in a tree of {size}"
        raise ValueError(message)
    proof: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _largest_power_below(end - begin)
        if index < middle:
            proof.append(_range_hash(middle, end, read))
            end = middle
        else:
            proof.append(_range_hash(begin, middle, read))
            begin = middle
    proof.reverse()
    return proof


def prove_consistency(first: int, second: int, read: NodeReader) -> list[bytes]:
    """Return the proof that the first ``first`` leaves of the tree of ``second`` are unchanged (RFC 9162, 2.1.4.1).

    Raises:
        ValueError: not 0 < first <= second.
    """
    if not 0 < first <= second:
        message = f"there is no proof from {first} to {second} leaves"
        raise ValueError(message)
    proof: list[bytes] = []
    begin, end, whole = 0, second, True
    while first != end:
        middle = begin + _largest_power_below(end - begin)
        if first <= middle:
            proof.append(_range_hash(middle, end, read))
            end = middle
        else:
            proof.append(_range_hash(begin, middle, read))
            begin, whole = middle, False
    if not whole:
        proof.append(_range_hash(begin, end, read))
    proof.reverse()
    return proof


def inclusion_root(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root to which a leaf and its inclusion proof lead, or None if the proof has the wrong length.

    The algorithm of RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    position, last, result = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            return None
        if position % 2 == 1 or position == last:
            result = hash_children(sibling, result)
            while position % 2 == 0 and position != 0:
                position, last = position >> 1, last >> 1
        else:
            result = hash_children(result, sibling)
        position, last = position >> 1, last >> 1
    return result if last == 0 else None


def consistency_holds(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether a proof leads from one root to the other (RFC 9162, 2.1.4.2)."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    hashes = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not hashes:
        return False
    position, last = first - 1, second - 1
    while position % 2 == 1:
        position, last = position >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if position % 2 == 1 or position == last:
            old, new = hash_children(sibling, old), hash_children(sibling, new)
            while position % 2 == 0 and position != 0:
                position, last = position >> 1, last >> 1
        else:
            new = hash_children(new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _largest_power_below(count: int) -> int:
    # The largest power of two smaller than count, for count > 1.
    return 1 << ((count - 1).bit_length() - 1)


def _range_hash(begin: int, end: int, read: NodeReader) -> bytes:
    count = end - begin
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return read(level, begin >> level)
    middle = begin + _largest_power_below(count)
    return hash_children(_range_hash(begin, middle, read), _range_hash(middle, end, read))
