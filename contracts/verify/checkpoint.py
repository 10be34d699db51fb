"""Compare a ledger's checkpoint with the logs, witnesses and last checkpoint that the caller trusts. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.ledger.note import ED25519, Note, Verifier, cosignature_time, parse_note
from contracts.ledger.proof import Checkpoint
from contracts.verify.checks import CheckFailed, code_of
from contracts.verify.trust import Trust
from contracts.wire.errors import ContractError

__all__ = [
    "Witnessed",
    "compare_with_seen",
    "find_cosignatures",
    "load_logs",
    "load_witnesses",
    "read_seen",
    "require_log_signature",
    "require_origin",
]


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A trusted witness has signed the checkpoint."""

    name: str
    at_s: int
    """The time of the signature by the witness's clock, in seconds since 1970."""


def _load(texts: Sequence[str], *, of_logs: bool) -> tuple[Verifier, ...]:
    try:
        loaded = tuple(Verifier.parse(text) for text in texts)
    except ContractError as error:
        raise CheckFailed(code_of(error), f"a key of the trust file is refused: {error}") from error
    if any((verifier.kind == ED25519) != of_logs for verifier in loaded):
        raise CheckFailed(
            "MALFORMED", "the trust file lists a witness's key under `logs`, or a log's key under `witnesses`"
        )
    return loaded


def load_logs(trust: Trust) -> tuple[Verifier, ...]:
    """Return the ledgers that the caller trusts.

    Raises:
        CheckFailed: ``WEAK_KEY`` or ``MALFORMED``: a key cannot be used.
    """
    return _load(trust.logs, of_logs=True)


def load_witnesses(trust: Trust) -> tuple[Verifier, ...]:
    """Return the witnesses that the caller trusts.

    Raises:
        CheckFailed: ``WEAK_KEY`` or ``MALFORMED``: a key cannot be used.
    """
    return _load(trust.witnesses, of_logs=False)


def require_origin(logs: Sequence[Verifier], checkpoint: Checkpoint) -> str:
    """Require that a checkpoint is of a ledger that the caller trusts; return the ledger's name.

    A trust that names no ledger refuses every checkpoint, because nothing can be concluded from its proofs.

    Raises:
        CheckFailed: ``WRONG_ORIGIN``.
    """
    names = sorted({log.name for log in logs})
    if not names:
        detail = f"the trust file names no ledger, so a proof from {checkpoint.origin} cannot be verified"
        raise CheckFailed("WRONG_ORIGIN", detail)
    if checkpoint.origin not in names:
        raise CheckFailed("WRONG_ORIGIN", f"the proof is from {checkpoint.origin}, not from {', '.join(names)}")
    return checkpoint.origin


def require_log_signature(logs: Sequence[Verifier], note: Note, checkpoint: Checkpoint) -> str:
    """Require that a checkpoint is signed by its ledger, and carries no false signature in its name; return a message.

    Raises:
        CheckFailed: ``BAD_CHECKPOINT``.
    """
    held = [log.holds(note) for log in logs if log.name == checkpoint.origin]
    if False in held:
        raise CheckFailed("BAD_CHECKPOINT", f"the signature of {checkpoint.origin} does not hold over its checkpoint")
    if True not in held:
        raise CheckFailed("BAD_CHECKPOINT", f"no trusted key of {checkpoint.origin} has signed its checkpoint")
    return f"{checkpoint.size} entries, signed by {checkpoint.origin}"


def find_cosignatures(witnesses: Sequence[Verifier], note: Note) -> tuple[Witnessed, ...]:
    """Return the trusted witnesses that have signed a checkpoint; signatures of other witnesses are ignored.

    Raises:
        CheckFailed: ``BAD_CHECKPOINT``: a signature in the name of a trusted witness does not hold.
    """
    found = []
    for witness in witnesses:
        holds, at_s = witness.holds(note), cosignature_time(witness, note)
        if holds is False:
            raise CheckFailed("BAD_CHECKPOINT", f"the cosignature of {witness.name} does not hold over the checkpoint")
        if at_s is not None:
            found.append(Witnessed(witness.name, at_s))
    return tuple(found)


def read_seen(trust: Trust, logs: Sequence[Verifier], origin: str) -> Checkpoint | None:
    """Return the last checkpoint that the caller saw of a ledger, or None if the trust has no checkpoint of it.

    Raises:
        CheckFailed: ``MALFORMED``: it is not a checkpoint. ``BAD_CHECKPOINT``: the ledger has not signed it.
    """
    if trust.checkpoint is None:
        return None
    try:
        note = parse_note(trust.checkpoint.encode("utf-8"))
        seen = Checkpoint.of_note(note)
    except ContractError as error:
        raise CheckFailed("MALFORMED", f"the checkpoint in the trust file is refused: {error}") from error
    if seen.origin != origin:
        return None
    require_log_signature(logs, note, seen)
    return seen


def compare_with_seen(checkpoint: Checkpoint, seen: Checkpoint | None) -> str:
    """Compare a checkpoint with an earlier one of the same ledger, without a consistency proof; return a message.

    Raises:
        CheckFailed: ``ROLLBACK``: the ledger has become shorter. ``FORK``: it has two roots for one size.
    """
    if seen is None:
        return "the trust file has no checkpoint of this ledger"
    if checkpoint.size < seen.size:
        detail = f"the ledger has {checkpoint.size} entries, but {seen.size} were seen before: a ledger never shrinks"
        raise CheckFailed("ROLLBACK", detail)
    if checkpoint.size > seen.size:
        return f"{seen.size} entries then, {checkpoint.size} now; only a consistency proof shows that it was extended"
    if checkpoint.root != seen.root:
        detail = f"another root over {seen.size} entries was seen before; keep both checkpoints as evidence"
        raise CheckFailed("FORK", detail)
    return f"the same checkpoint, of {seen.size} entries"
