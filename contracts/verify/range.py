"""Verify range proofs offline: between two sizes of a ledger every accepted execution has its final record.

A VALID verdict does not say that the final records are valid. The leaves commit to them; `contracts.verify.log` and
`contracts.verify.bundle` verify them.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

from contracts.ledger.merkle import Frontier, consistency_holds, hash_leaf, inclusion_root
from contracts.ledger.proof import Checkpoint, Leaf
from contracts.ledger.range_proof import LateFinal, RangeProof
from contracts.verify.checks import CheckFailed, Checks, Verified, code_of, run_checks
from contracts.verify.consistency import CHECKPOINT_CHECKS, open_checkpoint, verify_checkpoint
from contracts.verify.trust import Trust
from contracts.wire.envelope import decode_base64
from contracts.wire.errors import ContractError

__all__ = ["RANGE_CHECKS", "RangeSummary", "verify_range"]

RANGE_CHECKS = ("proof", *CHECKPOINT_CHECKS, "leaves", "checkpoints seen", "sequence", "results")
# The maximum number of executions that one message names.
NAMED_MAX = 10


@dataclass(frozen=True, slots=True)
class RangeSummary:
    """What the range proofs show."""

    first: int
    second: int
    executions: int
    """Executions that were accepted within the range; each has its final record."""
    newest: int
    """Number of entries of the checkpoint that the proofs lead to."""


@dataclass(slots=True)
class _Walk:
    """The state while the leaves of all proofs are read, in order."""

    newest: Checkpoint
    note: str
    watched: frozenset[int]
    """Sizes at which the root is kept."""
    tree: Frontier | None = None
    first: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)
    seq: int | None = None
    begin: int | None = None
    """The first execution number that was accepted within the range."""
    older: int = 0
    """The highest number that ended within the range and was accepted before it."""
    late: dict[str, int] = field(default_factory=dict)
    """Final index of each execution that ended after the proof in which it was accepted; a later proof may reach it."""
    started: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    fault: CheckFailed | None = None
    """The first fault of ids and numbers; a later check reports it."""
    missing: list[str] = field(default_factory=list)

    def add(self, page: RangeProof) -> None:
        """Read the leaves of one proof.

        Raises:
            CheckFailed: they are not the ledger's leaves.
        """
        self._enter(page)
        tree = self.tree = self.tree or Frontier(page.first, [base64.b64decode(each) for each in page.edge])
        waiting: dict[str, int] = {}
        self._watch(tree)
        for leaf in page.leaves:
            tree.append(hash_leaf(leaf.canonical()))
            self._watch(tree)
            self._count(leaf, waiting, tree.size - 1)
        if tree.size != page.second:
            raise CheckFailed("INCONSISTENT", f"the leaves lead to {tree.size} entries, not to {page.second}")
        self._require_prefix(page, tree)
        self._take_late(page, waiting)
        self.missing += (f"{execution_id} (seq {seq})" for execution_id, seq in waiting.items())

    def _enter(self, page: RangeProof) -> None:
        if len(page.edge) != page.first.bit_count():
            raise CheckFailed("INCONSISTENT", f"{page.first} entries cannot have {len(page.edge)} subtrees")
        if page.checkpoint != self.note:
            raise CheckFailed("INCONSISTENT", "the proofs of one file lead to different checkpoints")
        if self.tree is None:
            self.first = page.first
            return
        edge = tuple(base64.b64decode(each) for each in page.edge)
        if (page.first, edge) != (self.tree.size, self.tree.subtrees):
            raise CheckFailed("INCONSISTENT", f"a proof from {page.first} does not follow {self.tree.size} entries")

    def _watch(self, tree: Frontier) -> None:
        if tree.size in self.watched:
            self.roots[tree.size] = tree.root()

    def _require_prefix(self, page: RangeProof, tree: Frontier) -> None:
        hashes = [base64.b64decode(each) for each in page.consistency]
        newest = self.newest
        if not consistency_holds(page.second, newest.size, tree.root(), newest.root, hashes):
            detail = f"the first {page.second} entries are not in the ledger of the checkpoint of {newest.size}"
            raise CheckFailed("INCONSISTENT", detail)

    def _fail(self, code: str, message: str) -> None:
        self.fault = self.fault or CheckFailed(code, message)

    def _count(self, leaf: Leaf, waiting: dict[str, int], position: int) -> None:
        if leaf.kind == "final":
            self._count_final(leaf, waiting, position)
        else:
            self._count_started(leaf, waiting, position)

    def _count_final(self, leaf: Leaf, waiting: dict[str, int], position: int) -> None:
        execution_id = leaf.execution_id
        if execution_id in self.ended or self.late.get(execution_id, position) != position:
            self._fail("DUPLICATE_ID", f"{execution_id} has two final entries")
        seq = waiting.pop(execution_id, leaf.seq)
        if seq != leaf.seq:
            self._fail("ID_MISMATCH", f"{execution_id} started with seq {seq} and ended with seq {leaf.seq}")
        # An execution accepted before the range has a number of `first` at most, and below the numbers of the range.
        oldest = self.first + 1 if self.begin is None else min(self.first + 1, self.begin)
        if execution_id not in self.started:
            self.older = max(self.older, leaf.seq)
            if leaf.seq >= oldest:
                self._fail("INCONSISTENT", f"{execution_id} (seq {leaf.seq}) ended, but was never accepted")
        self.ended.add(execution_id)

    def _count_started(self, leaf: Leaf, waiting: dict[str, int], position: int) -> None:
        execution_id = leaf.execution_id
        if execution_id in self.started:
            self._fail("DUPLICATE_ID", f"{execution_id} has two started entries")
        expected = self.seq + 1 if self.seq is not None else (1 if self.first == 0 else leaf.seq)
        if leaf.seq < expected:
            self._fail("DUPLICATE_ID", f"seq {leaf.seq} comes after seq {expected - 1}")
        if leaf.seq > expected:
            self._fail("MISSING_RESULT", f"seq {expected} to {leaf.seq - 1} are missing")
        # The starts of all numbers below n come before the start of number n, and each may have its record there too.
        if self.begin is None and not leaf.seq - 1 <= position <= 2 * (leaf.seq - 1):
            self._fail("INCONSISTENT", f"the start of execution {leaf.seq} cannot be at index {position}")
        if self.begin is None and self.older >= leaf.seq:
            self._fail("INCONSISTENT", f"execution {self.older} ended before it was accepted")
        self.begin = leaf.seq if self.begin is None else self.begin
        self.seq = leaf.seq
        self.started.add(execution_id)
        waiting[execution_id] = leaf.seq

    def _take_late(self, page: RangeProof, waiting: dict[str, int]) -> None:
        for late in page.late:
            execution_id = late.leaf.execution_id
            if late.leaf.kind != "final" or late.position < page.second or execution_id not in waiting:
                self._fail("INCONSISTENT", f"{execution_id} has a late final entry that it cannot need")
                continue
            self.late[execution_id] = late.position
            if waiting.pop(execution_id) != late.leaf.seq:
                self._fail("ID_MISMATCH", f"{execution_id} ended with another seq than it started with")
            if not self._is_included(late):
                self._fail("BAD_INCLUSION", f"the final entry of {execution_id} is not in the checkpoint's ledger")

    def _is_included(self, late: LateFinal) -> bool:
        hashes = [base64.b64decode(each) for each in late.hashes]
        leaf_hash = hash_leaf(late.leaf.canonical())
        return inclusion_root(leaf_hash, late.position, self.newest.size, hashes) == self.newest.root


def _read_page(data: bytes) -> RangeProof:
    try:
        page = RangeProof.parse(data)
        for text in (*page.edge, *page.consistency, *(each for late in page.late for each in late.hashes)):
            decode_base64(text)
    except ContractError as error:
        raise CheckFailed(code_of(error), f"not a range proof: {error}") from error
    return page


def _open_seen(seen: Iterable[bytes], trust: Trust) -> list[Checkpoint]:
    opened = []
    for data in seen:
        verified = verify_checkpoint(data, trust)
        if verified.document is None:
            failed = verified.checks[-1]
            raise CheckFailed(failed.code, f"a checkpoint seen before is refused: {failed.message}")
        opened.append(verified.document[1])
    return opened


def _compare(walk: _Walk, seen: Checkpoint) -> bool:
    # Returns whether it could be compared: roots are known within the range, and at the newest size.
    if seen.origin != walk.newest.origin:
        raise CheckFailed("WRONG_ORIGIN", f"the checkpoint seen before is from {seen.origin}")
    if seen.size > walk.newest.size:
        raise CheckFailed("ROLLBACK", f"{seen.size} entries were seen before, but the ledger has {walk.newest.size}")
    root = walk.newest.root if seen.size == walk.newest.size else walk.roots.get(seen.size)
    if root is not None and root != seen.root:
        raise CheckFailed("FORK", f"another root over {seen.size} entries was seen before; keep both notes")
    return root is not None


def _compare_all(walk: _Walk, seen: list[Checkpoint], trusted: list[Checkpoint], last: int) -> str:
    for each in seen:
        if not _compare(walk, each):
            detail = f"the checkpoint of {each.size} entries is outside of the range from {walk.first} to {last}"
            raise CheckFailed("INCONSISTENT", detail)
    compared = len(seen) + sum(_compare(walk, each) for each in trusted)
    return f"{compared} of {len(seen) + len(trusted)} are within the range, and are of this ledger"


def _check_range(checks: Checks, pages: Iterable[bytes], seen: list[bytes], trust: Trust) -> RangeSummary:
    checks.begin("proof")
    given = iter(pages)
    page = _read_page(next(given, b""))
    checks.hold(f"{len(page.leaves)} leaves from {page.first} entries on")
    _, newest = open_checkpoint(checks, page.checkpoint.encode("utf-8"), trust)
    checks.begin("leaves")
    known = _open_seen(seen, trust)
    trusted = _open_seen([] if trust.checkpoint is None else [trust.checkpoint.encode("utf-8")], trust)
    walk = _Walk(newest, page.checkpoint, frozenset(each.size for each in (*known, *trusted)))
    walk.add(page)
    last = page.second
    for data in given:
        page = _read_page(data)
        walk.add(page)
        last = page.second
    checks.hold(f"entries {walk.first} to {last} are in the ledger of {newest.size}")
    checks.begin("checkpoints seen")
    checks.hold(_compare_all(walk, known, trusted, last))
    checks.begin("sequence")
    if walk.fault is not None:
        raise walk.fault
    checks.hold(f"{len(walk.started)} accepted, numbered without gaps")
    checks.begin("results")
    if walk.missing:
        named = ", ".join(walk.missing[:NAMED_MAX]) + (" and more" if len(walk.missing) > NAMED_MAX else "")
        raise CheckFailed("MISSING_RESULT", f"{len(walk.missing)} accepted, without a final entry: {named}")
    checks.hold("each has its final entry")
    return RangeSummary(walk.first, last, len(walk.started), newest.size)


def verify_range(pages: Iterable[bytes], trust: Trust, seen: Iterable[bytes] = ()) -> Verified[RangeSummary]:
    """Verify one range proof, or several consecutive range proofs.

    Args:
        pages: the JSON of each proof, read one at a time.
        trust: the caller's trust. Its `checkpoint` is compared too, if it is within the range.
        seen: signed checkpoints that the caller saw before, at sizes within the range.

    Returns:
        A report, with the codes of `contracts.verify.checkpoint` for the proof's checkpoint. ``INCONSISTENT``: the
        leaves are not the ledger's. ``FORK``, ``ROLLBACK``: it is not the ledger that was seen before.
        ``MISSING_RESULT``: an execution has no final entry, or a number is missing. Also ``DUPLICATE_ID``,
        ``ID_MISMATCH`` and ``BAD_INCLUSION``.
    """
    return run_checks(_check_range, pages, list(seen), trust)
