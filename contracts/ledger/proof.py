"""Proof that a record is in the ledger: leaf, checkpoint (C2SP tlog-checkpoint) and proof (C2SP tlog-proof)."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.ledger.merkle import HASH_BYTES, MAX_PROOF_HASHES
from contracts.ledger.note import MAX_NOTE_BYTES, Note, parse_note
from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.document import Contract
from contracts.wire.envelope import Envelope, decode_base64, pre_authentication_bytes
from contracts.wire.errors import ContractError, FieldError
from contracts.wire.types import Count, Digest, ExecutionId

__all__ = ["Checkpoint", "InclusionProof", "Leaf", "LeafKind", "build_leaf", "parse_proof"]

LeafKind = Literal["started", "final"]
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
CHECKPOINT_LINES = 3
SIGNATURE_BYTES = 64
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,15})")
_ORIGIN = re.compile(r"[!-*,-~]{1,128}")


class Leaf(Contract):
    """One leaf of the ledger, in RFC 8785 form. It contains digest and signature of a statement, not its text."""

    schema_version: Literal["weos.ledger-leaf/1"]
    """Kind and version of this document."""
    kind: LeafKind
    """`started`: the execution was accepted; this leaf is stored before anything runs. `final`: how the execution
    ended."""
    seq: Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
    """Number of the execution: from 1, without gaps, in the order of acceptance. Both leaves of an execution have the
    same number."""
    execution_id: ExecutionId
    """Identifier of the execution."""
    statement_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the bytes that were signed, DSSE's pre-authentication encoding of the statement: 64 hexadecimal
    digits."""
    signature: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{86}==$")]
    """Ed25519 signature over those bytes, in base64."""
    manifest: Digest | None
    """Digest of the engine manifest of the version that signed; null: a development version, which has none."""


def build_leaf(kind: LeafKind, seq: int, execution_id: str, envelope: bytes, manifest: str | None) -> Leaf:
    """Return the leaf of a signed envelope.

    Raises:
        ContractError: the bytes are not an envelope with exactly one signature, or it is not an Ed25519 signature.
    """
    parsed = Envelope.parse(envelope)
    if len(parsed.signatures) != 1:
        raise _malformed("an envelope in the ledger must have exactly one signature")
    if len(decode_base64(parsed.signatures[0].sig)) != SIGNATURE_BYTES:
        raise _malformed("the signature is not an Ed25519 signature")
    signed = pre_authentication_bytes(parsed.payloadType, decode_base64(parsed.payload))
    return Leaf(
        schema_version="weos.ledger-leaf/1",
        kind=kind,
        seq=seq,
        execution_id=execution_id,
        statement_sha256=hashlib.sha256(signed).hexdigest(),
        signature=parsed.signatures[0].sig,
        manifest=manifest,
    )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: its name, its number of leaves and the root hash over them."""

    origin: str
    size: Count
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"

    @classmethod
    def of_note(cls, note: Note) -> "Checkpoint":
        """Parse the text of a note; extension lines are refused, because nobody could audit them.

        Raises:
            ContractError: ``malformed_json``; the text is not a checkpoint.
        """
        lines = note.text[:-1].split("\n")
        if len(lines) != CHECKPOINT_LINES or not _ORIGIN.fullmatch(lines[0]):
            raise _malformed("not a checkpoint: it must have three lines, origin, size and root")
        return cls(lines[0], _number(lines[1]), _hash(lines[2]))


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Proof that a leaf is in a log, with the signed checkpoint to which it leads."""

    index: int
    hashes: Sequence[bytes]
    checkpoint: str
    """The checkpoint as a signed note, verbatim."""

    def encode(self) -> str:
        """Return the proof in the form of C2SP tlog-proof."""
        lines = [PROOF_HEADER, f"index {self.index}", *(base64.b64encode(each).decode("ascii") for each in self.hashes)]
        return "\n".join(lines) + "\n\n" + self.checkpoint


def parse_proof(data: bytes) -> tuple[InclusionProof, Note, Checkpoint]:
    """Parse a proof with its checkpoint; `extra` data is refused, since no signature covers it.

    Raises:
        ContractError: ``too_large`` or ``malformed_json``.
    """
    if len(data) > MAX_NOTE_BYTES:
        message = f"the proof has {len(data)} bytes; at most {MAX_NOTE_BYTES} are allowed"
        raise ContractError("too_large", (FieldError(field="", code="too_large", message=message),))
    head, separator, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("the proof's lines are not ASCII") from error
    if not separator or lines[0] != PROOF_HEADER or len(lines) < len(("header", "index")):
        raise _malformed(f"not a proof: it must begin with {PROOF_HEADER} and an index")
    if len(lines) > MAX_PROOF_HASHES + 2:
        raise _malformed("the proof has more hashes than any tree has levels")
    word, _, index = lines[1].partition(" ")
    if word != "index":
        raise _malformed("the second line of the proof is not the index")
    note = parse_note(checkpoint)
    proof = InclusionProof(_number(index), tuple(map(_hash, lines[2:])), checkpoint.decode("utf-8"))
    return proof, note, Checkpoint.of_note(note)


def _number(text: str) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SAFE_INTEGER:
        raise _malformed("not a decimal number without leading zeros")
    return int(text)


def _hash(text: str) -> bytes:
    data = decode_base64(text)
    if len(data) != HASH_BYTES:
        raise _malformed("not a SHA-256 hash in base64")
    return data


def _malformed(message: str) -> ContractError:
    return ContractError("malformed_json", (FieldError(field="", code="malformed_proof", message=message),))
