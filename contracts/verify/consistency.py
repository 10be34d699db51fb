"""Verify signed checkpoints, and that a newer one extends an older one, offline.

What a VALID verdict does not say: that others were shown the same log. Only witnesses, or a comparison with what others
saw, make a split view visible.
"""

import base64
from collections.abc import Collection, Iterable, Mapping

from contracts.ledger.bundle import ConsistencyProof, LedgerEntryView
from contracts.ledger.merkle import EMPTY_ROOT, Frontier, consistency_holds, hash_leaf
from contracts.ledger.note import Note, parse_note
from contracts.ledger.proof import Checkpoint
from contracts.verify.checkpoint import (
    compare_with_seen,
    find_cosignatures,
    load_logs,
    load_witnesses,
    require_log_signature,
    require_origin,
)
from contracts.verify.checks import CheckFailed, Checks, Verified, code_of, run_checks
from contracts.verify.trust import Trust
from contracts.wire.envelope import decode_base64
from contracts.wire.errors import ContractError

__all__ = [
    "CHECKPOINT_CHECKS",
    "CONSISTENCY_CHECKS",
    "open_checkpoint",
    "read_consistency_proof",
    "require_extension",
    "roots_of_export",
    "verify_checkpoint",
    "verify_consistency",
]

CHECKPOINT_CHECKS = ("checkpoint", "log", "log signature", "witnesses")
CONSISTENCY_CHECKS = (
    *(f"older {name}" for name in CHECKPOINT_CHECKS),
    *(f"newer {name}" for name in CHECKPOINT_CHECKS),
    "extension",
)


def open_checkpoint(checks: Checks, data: bytes, trust: Trust) -> tuple[Note, Checkpoint]:
    """Make the ``CHECKPOINT_CHECKS``; return the note and what it says."""
    checks.begin("checkpoint")
    try:
        note = parse_note(data)
        checkpoint = Checkpoint.of_note(note)
    except ContractError as error:
        code = "TOO_LARGE" if error.code == "too_large" else "BAD_CHECKPOINT"
        raise CheckFailed(code, f"not a signed checkpoint: {error}") from error
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise CheckFailed("BAD_CHECKPOINT", "it names a root over no entries that is not the one of the empty ledger")
    checks.hold(f"{checkpoint.size} entries")
    checks.begin("log")
    logs = load_logs(trust)
    checks.hold(require_origin(logs, checkpoint))
    checks.begin("log signature")
    checks.hold(require_log_signature(logs, note, checkpoint))
    checks.begin("witnesses")
    witnesses = find_cosignatures(load_witnesses(trust), note)
    checks.hold("witness: " + (", ".join(f"{each.name} at {each.at_s}" for each in witnesses) or "none"))
    return note, checkpoint


def verify_checkpoint(data: bytes, trust: Trust) -> Verified[tuple[Note, Checkpoint]]:
    """Verify a signed checkpoint.

    Args:
        data: the note.
        trust: the caller's; its `logs` and `witnesses` count.

    Returns:
        ``BAD_CHECKPOINT``: it is none, or not signed by the trusted key of its log. ``WRONG_ORIGIN``: no trusted log
        has its name.
    """
    return run_checks(open_checkpoint, data, trust)


def read_consistency_proof(data: bytes) -> ConsistencyProof:
    """Read the answer of `GET /v1/ledger/consistency`.

    Raises:
        CheckFailed: ``TOO_LARGE``, ``MALFORMED``, ``OUT_OF_RANGE`` or ``SCHEMA_VIOLATION``.
    """
    try:
        proof = ConsistencyProof.parse(data)
        for each in proof.hashes:
            decode_base64(each)
    except ContractError as error:
        raise CheckFailed(code_of(error), f"not a consistency proof: {error}") from error
    return proof


def roots_of_export(lines: Iterable[bytes], sizes: Collection[int]) -> dict[int, bytes]:
    """Return the roots over the first entries of an export, for those of the sizes that it reaches.

    Leaves alone are looked at: what they commit to is for `contracts.verify.log`.

    Raises:
        CheckFailed: a line is not an entry.
    """
    tree = Frontier()
    roots = {size: tree.root() for size in sizes if size == 0}
    given = iter(lines)
    next(given, None)
    for line in given:
        if tree.size >= max(sizes, default=0):
            break
        try:
            entry = LedgerEntryView.parse(line.removesuffix(b"\n"))
        except ContractError as error:
            raise CheckFailed(code_of(error), f"entry {tree.size}: {error}") from error
        tree.append(hash_leaf(entry.leaf.canonical()))
        if tree.size in sizes:
            roots[tree.size] = tree.root()
    return roots


def _require_roots(older: Checkpoint, newer: Checkpoint, roots: Mapping[int, bytes]) -> str:
    for checkpoint in (older, newer):
        root = roots.get(checkpoint.size)
        if root is None:
            raise CheckFailed("INCONSISTENT", f"the export does not reach {checkpoint.size} entries")
        if root != checkpoint.root:
            raise CheckFailed("INCONSISTENT", f"the first {checkpoint.size} entries of the export have another root")
    return f"both roots were computed anew, from the {newer.size} leaves of an export"


def require_extension(
    older: Checkpoint, newer: Checkpoint, proof: ConsistencyProof | Mapping[int, bytes] | None
) -> str:
    """Return a message that the log of one checkpoint begins with that of another; both are verified already.

    Args:
        older: what was seen before.
        newer: what is to extend it.
        proof: a proof, or roots by size that were computed of the leaves; None where there is nothing, and nothing is
            needed for equal sizes and from the empty log.

    Raises:
        CheckFailed: ``WRONG_ORIGIN``: two logs. ``ROLLBACK``: the newer is shorter. ``FORK``: of the same size with
            another root (keep both notes). ``INCONSISTENT``: no proof leads from one to the other.
    """
    if older.origin != newer.origin:
        raise CheckFailed("WRONG_ORIGIN", f"{newer.origin} is another ledger than {older.origin}")
    same = compare_with_seen(newer, older)
    if newer.size == older.size:
        return same
    if older.size == 0:
        return f"{newer.size} entries after none"
    if proof is None:
        raise CheckFailed("INCONSISTENT", f"nothing proves that the first {older.size} entries are unchanged")
    if not isinstance(proof, ConsistencyProof):
        return _require_roots(older, newer, proof)
    if (proof.first, proof.second) != (older.size, newer.size):
        detail = f"the proof leads from {proof.first} to {proof.second} entries, not from {older.size} to {newer.size}"
        raise CheckFailed("INCONSISTENT", detail)
    hashes = [base64.b64decode(each) for each in proof.hashes]
    if not consistency_holds(older.size, newer.size, older.root, newer.root, hashes):
        detail = f"the proof does not lead from the root over {older.size} entries to the one over {newer.size}"
        raise CheckFailed("INCONSISTENT", detail)
    return f"the first {older.size} of {newer.size} entries are unchanged"


def _check_consistency(
    checks: Checks, older: bytes, newer: bytes, proof: bytes | Mapping[int, bytes] | None, trust: Trust
) -> tuple[Checkpoint, Checkpoint]:
    with checks.prefixed("older "):
        _, first = open_checkpoint(checks, older, trust)
    with checks.prefixed("newer "):
        _, second = open_checkpoint(checks, newer, trust)
    checks.begin("extension")
    given = read_consistency_proof(proof) if isinstance(proof, bytes) else proof
    checks.hold(require_extension(first, second, given))
    return first, second


def verify_consistency(
    older: bytes, newer: bytes, proof: bytes | Mapping[int, bytes] | None, trust: Trust
) -> Verified[tuple[Checkpoint, Checkpoint]]:
    """Verify that one signed checkpoint extends another.

    Args:
        older: the note that was seen first.
        newer: the note that was seen later.
        proof: the JSON of a `ConsistencyProof`, or what `roots_of_export` gives.
        trust: the caller's.

    Returns:
        The codes of `verify_checkpoint` for both notes, then those of `require_extension`.
    """
    return run_checks(_check_consistency, older, newer, proof, trust)
