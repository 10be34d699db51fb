"""Verify signed checkpoints, and that a newer one extends an older one, offline.

A VALID verdict does not say that others were shown the same log. Only witnesses, or a comparison of checkpoints with
other readers, reveal a split view.
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
    """Make the ``CHECKPOINT_CHECKS``; return the note and the checkpoint in it."""
    checks.begin("checkpoint")
    try:
        note = parse_note(data)
        checkpoint = Checkpoint.of_note(note)
    except ContractError as error:
        code = "TOO_LARGE" if error.code == "too_large" else "BAD_CHECKPOINT"
        raise CheckFailed(code, f"not a signed checkpoint: {error}") from error
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise CheckFailed("BAD_CHECKPOINT", "it names 0 entries, and a root that is not the empty ledger's")
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
        A report. ``BAD_CHECKPOINT``: it is not a checkpoint, or the trusted key of its log has not signed it.
        ``WRONG_ORIGIN``: no trusted log has its name.
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
    """Return the root of an export at each of the given sizes, as far as the export reaches.

    Only the leaves are read; `contracts.verify.log` verifies the statements that they commit to.

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
    return f"both roots were recomputed from the {newer.size} leaves of an export"


def require_extension(
    older: Checkpoint, newer: Checkpoint, proof: ConsistencyProof | Mapping[int, bytes] | None
) -> str:
    """Require that the log of a newer checkpoint begins with the log of an older one; return a message.

    Args:
        older: the verified checkpoint that was seen before.
        newer: the verified checkpoint that should extend it.
        proof: a consistency proof, or roots by size, computed from the leaves. None is enough for equal sizes, and
            for an empty older log.

    Raises:
        CheckFailed: ``WRONG_ORIGIN``: they are of two logs. ``ROLLBACK``: the newer log is shorter. ``FORK``: one size
            has two roots (keep both notes). ``INCONSISTENT``: no proof leads from one to the other.
    """
    if older.origin != newer.origin:
        raise CheckFailed("WRONG_ORIGIN", f"{newer.origin} is another ledger than {older.origin}")
    same = compare_with_seen(newer, older)
    if newer.size == older.size:
        return same
    if older.size == 0:
        return f"{newer.size} entries; the older ledger was empty"
    if proof is None:
        raise CheckFailed("INCONSISTENT", f"no proof shows that the first {older.size} entries are unchanged")
    if not isinstance(proof, ConsistencyProof):
        return _require_roots(older, newer, proof)
    if (proof.first, proof.second) != (older.size, newer.size):
        detail = f"the proof is from {proof.first} to {proof.second} entries, not from {older.size} to {newer.size}"
        raise CheckFailed("INCONSISTENT", detail)
    hashes = [base64.b64decode(each) for each in proof.hashes]
    if not consistency_holds(older.size, newer.size, older.root, newer.root, hashes):
        detail = f"the proof does not connect the root over {older.size} entries with the root over {newer.size}"
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
        proof: the JSON of a `ConsistencyProof`, or the result of `roots_of_export`.
        trust: the caller's.

    Returns:
        A report with the codes of `verify_checkpoint` for both notes, then those of `require_extension`.
    """
    return run_checks(_check_consistency, older, newer, proof, trust)
