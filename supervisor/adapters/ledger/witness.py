"""A witness: one who remembers the last checkpoint of each ledger and countersigns only what extends it.

What it has seen is durable before a cosignature leaves it, so that it never vouches for two histories of one ledger,
whenever it is stopped. Needs no more than the contracts and a directory of its own.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.ledger.note import SIGNATURES_MAX, Verifier, cosign, parse_note, verifier_of
from contracts.ledger.proof import Checkpoint
from contracts.verify.checks import Check
from contracts.verify.consistency import verify_checkpoint, verify_consistency
from contracts.verify.trust import Trust
from contracts.wire.errors import ContractError
from supervisor.adapters.files import locked, write_private
from supervisor.adapters.identity.keys import FileSigner, engine_passphrase, key_path, make_signer, read_signer
from supervisor.domain.errors import EngineError

__all__ = ["Witness"]

KEY = "witness"
# What shows that a ledger has two histories, or has lost some; both notes are kept.
EVIDENCE_CODES = frozenset({"FORK", "ROLLBACK"})


@dataclass(frozen=True, slots=True)
class Countersigned:
    """What came of one checkpoint."""

    checks: tuple[Check, ...]
    note: str | None
    """The checkpoint with the witness's signature; None: refused."""
    evidence: Path | None
    """Where both notes are kept that contradict each other."""


class Witness:
    """One witness in its directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, name: str) -> Verifier:
        """Make the witness's key; return what others verify it by.

        Raises:
            EngineError: ``witness_exists``, or ``witness_name`` where it cannot stand in a note.
        """
        if (self._directory / "name").exists():
            raise EngineError("witness_exists", f"{self._directory} has a witness already")
        signer = make_signer()
        try:
            verifier = verifier_of(name, signer.key, witness=True)
        except ContractError as error:
            raise EngineError("witness_name", f"{error}; a domain name with a path is usual") from error
        passphrase = engine_passphrase(self._directory)
        write_private(key_path(self._directory, KEY), signer.encrypted(passphrase))
        write_private(self._directory / "name", name.encode("ascii") + b"\n")
        return verifier

    def verifier(self) -> Verifier:
        """Return what others verify it by.

        Raises:
            EngineError: ``witness_missing``, ``key_missing``, ``key_unsafe`` or ``passphrase_wrong``.
        """
        return self._open()[0]

    def last_seen(self, note: bytes) -> bytes | None:
        """Return the last checkpoint that was seen of the ledger that one names; None: there is none."""
        try:
            place = self._place(Checkpoint.of_note(parse_note(note)).origin)
        except ContractError:
            return None
        return place.read_bytes() if place.exists() else None

    def countersign(
        self, note: bytes, trust: Trust, evidence: bytes | Mapping[int, bytes] | None, *, at_s: int
    ) -> Countersigned:
        """Countersign a checkpoint that extends the last one that was seen of its ledger, and remember it.

        Args:
            note: the signed checkpoint.
            trust: whose `logs` this witness watches.
            evidence: what leads from the last one to it; see ``contracts.verify.consistency``.
            at_s: the time of the signature, in seconds since 1970.

        Raises:
            EngineError: as `verifier`.
        """
        with self._locked():
            verifier, signer = self._open()
            opened = verify_checkpoint(note, trust)
            if opened.document is None:
                return Countersigned(opened.checks, None, None)
            place = self._place(opened.document[1].origin)
            checks = opened.checks
            if place.exists():
                seen = place.read_bytes()
                verified = verify_consistency(seen, note, evidence, trust)
                if verified.document is None:
                    evidence_at = self._keep(seen, note) if verified.verdict in EVIDENCE_CODES else None
                    return Countersigned(verified.checks, None, evidence_at)
                checks = verified.checks
            kept = _without(note, verifier)
            if len(parse_note(kept.encode("utf-8")).signatures) >= SIGNATURES_MAX:
                full = Check("room", "TOO_LARGE", f"it has {SIGNATURES_MAX} signatures, as many as a note may have")
                return Countersigned((*checks, full), None, None)
            write_private(place, note)
            return Countersigned(checks, cosign(kept, verifier, signer, at_s=at_s), None)

    def _open(self) -> tuple[Verifier, FileSigner]:
        try:
            name = (self._directory / "name").read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            detail = f"there is no witness in {self._directory}; make one with: weos-engine audit witness init"
            raise EngineError("witness_missing", detail) from error
        signer = read_signer(key_path(self._directory, KEY), engine_passphrase(self._directory))
        return verifier_of(name, signer.key, witness=True), signer

    def _place(self, origin: str) -> Path:
        # By digest: an origin may hold what no file name can.
        return self._directory / "seen" / f"{hashlib.sha256(origin.encode('ascii')).hexdigest()}.note"

    def _keep(self, seen: bytes, note: bytes) -> Path:
        # By content: the same contradiction is kept once, however often it is shown.
        directory = self._directory / "evidence" / hashlib.sha256(seen + note).hexdigest()[:32]
        write_private(directory / "seen.note", seen)
        write_private(directory / "shown.note", note)
        return directory

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._directory.is_dir():
            self._open()
        with locked(self._directory / "lock"):
            yield


def _without(note: bytes, verifier: Verifier) -> str:
    # An earlier signature of its own makes place for the new one; others of that name are not its own.
    head, separator, _ = note.decode("utf-8").rpartition("\n\n")
    parsed = parse_note(note)
    lines = note.decode("utf-8").removeprefix(head + separator).splitlines(keepends=True)
    mine = (verifier.name, verifier.key_id)
    kept = (line for line, each in zip(lines, parsed.signatures, strict=True) if (each.name, each.key_id) != mine)
    return head + separator + "".join(kept)
