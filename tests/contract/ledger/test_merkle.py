"""The tree against RFC 6962's own definition and the values that its implementations agree on."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    Node,
    NodeReader,
    consistency_holds,
    hash_children,
    hash_leaf,
    inclusion_root,
    new_nodes,
    prove_consistency,
    prove_inclusion,
    root_of,
    subtree_places,
)

# The leaves that implementations of Certificate Transparency test with, and the roots they agree on.
LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "60" * 0)]
LEAVES[7] = bytes.fromhex("606162636465666768696a6b6c6d6e6f")
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def grow(leaves: list[bytes]) -> NodeReader:
    stored: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        return stored[level, index]

    for size, leaf in enumerate(leaves):
        nodes: list[Node] = new_nodes(size, hash_leaf(leaf), read)
        for level, index, node_hash in nodes:
            assert (level, index) not in stored
            stored[level, index] = node_hash
    return read


def defined_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hash_leaf(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hash_children(defined_root(leaves[:split]), defined_root(leaves[split:]))


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


@pytest.mark.parametrize(("size", "root"), ROOTS.items())
def test_known_roots(size: int, root: str) -> None:
    assert root_of(size, grow(LEAVES)).hex() == root


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert root_of(0, grow([])) == EMPTY_ROOT == defined_root([])


def test_roots_are_those_of_the_definition() -> None:
    leaves = numbered(70)
    read = grow(leaves)
    for size in range(71):
        assert root_of(size, read) == defined_root(leaves[:size])


def test_every_leaf_of_every_small_tree_is_proven() -> None:
    leaves = numbered(40)
    read = grow(leaves)
    for size in range(1, 41):
        root = root_of(size, read)
        for index in range(size):
            proof = prove_inclusion(index, size, read)
            assert inclusion_root(hash_leaf(leaves[index]), index, size, proof) == root


def test_every_pair_of_small_trees_is_consistent() -> None:
    read = grow(numbered(40))
    for second in range(1, 41):
        for first in range(1, second + 1):
            proof = prove_consistency(first, second, read)
            assert consistency_holds(first, second, root_of(first, read), root_of(second, read), proof)


SIZES = st.integers(1, 300)


@given(SIZES, st.data())
def test_a_proof_of_another_leaf_place_or_size_does_not_lead_to_the_root(size: int, data: st.DataObject) -> None:
    leaves = numbered(size)
    read = grow(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(index, size, read)
    root = root_of(size, read)
    assert inclusion_root(hash_leaf(b"another"), index, size, proof) != root
    other = data.draw(st.integers(0, size - 1))
    assert (inclusion_root(hash_leaf(leaves[index]), other, size, proof) == root) == (other == index)
    if proof:
        spoiled = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:spoiled], bytes(32), *proof[spoiled + 1 :]]
        assert inclusion_root(hash_leaf(leaves[index]), index, size, changed) != root
        assert inclusion_root(hash_leaf(leaves[index]), index, size, proof[:-1]) is None
    assert inclusion_root(hash_leaf(leaves[index]), index, size, [*proof, bytes(32)]) is None


@given(SIZES, st.data())
def test_a_rewritten_leaf_is_never_consistent(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, size))
    leaves = numbered(size)
    rewritten = list(leaves)
    rewritten[data.draw(st.integers(0, first - 1))] = b"rewritten"
    old, new = grow(leaves), grow(rewritten)
    first_root, second_root = root_of(first, old), root_of(size, new)
    for read in (old, new):
        proof = prove_consistency(first, size, read)
        assert not consistency_holds(first, size, first_root, second_root, proof)


@pytest.mark.parametrize(
    ("first", "second", "length"), [(1, 1, 1), (2, 3, 0), (3, 5, 0), (0, 4, 0), (5, 4, 1), (2, 3, 9)]
)
def test_a_consistency_proof_of_the_wrong_length_does_not_hold(first: int, second: int, length: int) -> None:
    read = grow(numbered(8))
    proof = [bytes(32)] * length
    assert not consistency_holds(first, second, root_of(first, read), root_of(second, read), proof)


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_a_leaf_that_is_not_there_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        prove_inclusion(index, size, grow(numbered(4)))
    assert inclusion_root(bytes(32), index, size, []) is None


@pytest.mark.parametrize(("first", "second"), [(0, 4), (5, 4)])
def test_there_is_no_consistency_backwards(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="no proof"):
        prove_consistency(first, second, grow(numbered(8)))


@given(st.lists(st.binary(max_size=8), max_size=40), st.data())
def test_a_frontier_grows_to_the_same_root_from_anywhere(leaves: list[bytes], data: st.DataObject) -> None:
    read = grow(leaves)
    begin = data.draw(st.integers(0, len(leaves)))
    tree = Frontier(begin, [read(*place) for place in subtree_places(begin)])
    for size in range(begin, len(leaves) + 1):
        assert (tree.size, tree.root()) == (size, root_of(size, read))
        assert tree.subtrees == tuple(read(*place) for place in subtree_places(size))
        if size < len(leaves):
            tree.append(hash_leaf(leaves[size]))


def test_a_frontier_begins_with_as_many_subtrees_as_its_size_has() -> None:
    with pytest.raises(ValueError, match="2 complete subtrees, not 1"):
        Frontier(5, [EMPTY_ROOT])


@given(st.lists(st.binary(max_size=8), max_size=40), st.data())
def test_many_leaves_at_once_are_the_same_as_one_by_one(leaves: list[bytes], data: st.DataObject) -> None:
    hashes = list(map(hash_leaf, leaves))
    begin = data.draw(st.integers(0, len(leaves)))
    tree = Frontier()
    tree.extend(hashes[:begin])
    tree.extend(hashes[begin:])
    assert (tree.size, tree.root()) == (len(leaves), root_of(len(leaves), grow(leaves)))
