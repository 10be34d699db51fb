"""Signed notes (C2SP signed-note) with Ed25519 keys, and witness cosignatures (C2SP tlog-cosignature). Pure."""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contracts.wire.envelope import Signer, decode_base64
from contracts.wire.errors import ContractError, FieldError
from contracts.wire.keys import require_strong

__all__ = [
    "ED25519",
    "MAX_NOTE_BYTES",
    "SIGNATURES_MAX",
    "Note",
    "Verifier",
    "cosign",
    "cosignature_time",
    "parse_note",
    "sign_note",
    "verifier_of",
]

# Room for a checkpoint and more signatures than the 16 that a verifier must accept.
MAX_NOTE_BYTES = 65_536
SIGNATURES_MAX = 32
KEY_ID_BYTES = 4
# C2SP signed-note, "Signature types".
ED25519 = b"\x01"
COSIGNATURE = b"\x04"
KEY_BYTES = 32
SIGNATURE_BYTES = 64
TIMESTAMP_BYTES = 8
_NAME = re.compile(r"[!-*,-~]{1,128}")
_VERIFIER = re.compile(r"([!-*,-~]{1,128})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")
_SIGNATURE_LINE = re.compile(r"— ([!-*,-~]{1,128}) ([A-Za-z0-9+/=]{1,256})")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: name of the signer, id of the key, and the bytes after the key id."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note; its signatures are not verified yet, see `Verifier.holds`."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Verifier:
    """A named public key of a log (kind `0x01`) or of a witness (kind `0x04`)."""

    name: str
    kind: bytes
    key: Ed25519PublicKey

    @property
    def key_id(self) -> bytes:
        """First four bytes of the SHA-256 of name, newline, kind and key."""
        return _key_id(self.name, self.kind, self.key)

    def encode(self) -> str:
        """Return the verifier key as text: name, id and key, joined by ``+``."""
        encoded = base64.b64encode(self.kind + _raw(self.key)).decode("ascii")
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """Read a verifier key.

        Raises:
            ContractError: ``malformed_json`` if the text is not a verifier key, ``weak_key`` if the key is weak.
        """
        found = _VERIFIER.fullmatch(text)
        if not found:
            raise _malformed("not a verifier key: name+id+key")
        name, key_id, encoded = found.groups()
        material = decode_base64(encoded)
        if len(material) != 1 + KEY_BYTES or material[:1] not in {ED25519, COSIGNATURE}:
            raise _malformed("not an Ed25519 verifier key")
        verifier = cls(name, material[:1], require_strong(Ed25519PublicKey.from_public_bytes(material[1:])))
        if verifier.key_id.hex() != key_id:
            raise _malformed("the verifier key's id does not follow from its name and key")
        return verifier

    def holds(self, note: Note) -> bool | None:
        """Return whether this key's signature on the note is valid, or None if the note has no signature by the key."""
        mine = [line for line in note.signatures if (line.name, line.key_id) == (self.name, self.key_id)]
        return all(self._verifies(note.text, line.signature) for line in mine) if mine else None

    def _verifies(self, text: str, signature: bytes) -> bool:
        message = text.encode("utf-8")
        if self.kind == COSIGNATURE:
            if len(signature) != TIMESTAMP_BYTES + SIGNATURE_BYTES:
                return False
            seconds = int.from_bytes(signature[:TIMESTAMP_BYTES], "big")
            message, signature = _cosigned(text, seconds), signature[TIMESTAMP_BYTES:]
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def verifier_of(name: str, key: Ed25519PublicKey, *, witness: bool = False) -> Verifier:
    """Return the verifier for the key of a log, or of a witness.

    Raises:
        ContractError: ``malformed_json``; a note cannot contain the name.
    """
    if not _NAME.fullmatch(name):
        raise _malformed("a key name must be printable ASCII without spaces and plus signs")
    return Verifier(name, COSIGNATURE if witness else ED25519, key)


def sign_note(text: str, verifier: Verifier, signer: Signer) -> str:
    """Return a note with one signature; ``text`` must end with a newline."""
    return f"{text}\n{_line(verifier, signer.sign(text.encode('utf-8')))}"


def cosign(note: str, verifier: Verifier, signer: Signer, *, at_s: int) -> str:
    """Return a note with a witness's signature added.

    Args:
        note: the signed checkpoint.
        verifier: the witness.
        signer: its private key.
        at_s: when the witness found the checkpoint consistent with all earlier ones, in seconds since 1970.
    """
    text = parse_note(note.encode("utf-8")).text
    signature = at_s.to_bytes(TIMESTAMP_BYTES, "big") + signer.sign(_cosigned(text, at_s))
    return note + _line(verifier, signature)


def cosignature_time(verifier: Verifier, note: Note) -> int | None:
    """Return when a witness signed, in seconds since 1970, or None if it did not sign."""
    times = (
        int.from_bytes(line.signature[:TIMESTAMP_BYTES], "big")
        for line in note.signatures
        if (line.name, line.key_id) == (verifier.name, verifier.key_id)
    )
    return next(times, None)


def parse_note(data: bytes) -> Note:
    """Parse a note strictly.

    Raises:
        ContractError: ``too_large``; or ``malformed_json``: not UTF-8, control characters, or no signature line.
    """
    if len(data) > MAX_NOTE_BYTES:
        message = f"the note has {len(data)} bytes; at most {MAX_NOTE_BYTES} are allowed"
        raise ContractError("too_large", (FieldError(field="", code="too_large", message=message),))
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("the note is not UTF-8") from error
    if any(character < " " and character != "\n" for character in whole):
        raise _malformed("the note contains a control character")
    text, separator, lines = whole.rpartition("\n\n")
    if not separator or not lines.endswith("\n") or not text:
        raise _malformed("the note has no signature lines after a blank line")
    return Note(text + "\n", tuple(_parse_signatures(lines[:-1].split("\n"))))


def _parse_signatures(lines: list[str]) -> Iterable[NoteSignature]:
    if len(lines) > SIGNATURES_MAX:
        raise _malformed(f"the note has more than {SIGNATURES_MAX} signatures")
    for line in lines:
        found = _SIGNATURE_LINE.fullmatch(line)
        if not found:
            raise _malformed("a line after the blank line is not a signature line")
        try:
            data = decode_base64(found.group(2))
        except ContractError as error:
            raise _malformed("a signature is not canonical base64") from error
        if len(data) <= KEY_ID_BYTES:
            raise _malformed("a signature is too short")
        yield NoteSignature(found.group(1), data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


def _line(verifier: Verifier, signature: bytes) -> str:
    return f"— {verifier.name} {base64.b64encode(verifier.key_id + signature).decode('ascii')}\n"


def _cosigned(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _key_id(name: str, kind: bytes, key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(name.encode("utf-8") + b"\n" + kind + _raw(key)).digest()[:KEY_ID_BYTES]


def _malformed(message: str) -> ContractError:
    return ContractError("malformed_json", (FieldError(field="", code="malformed_note", message=message),))
