"""What every verification is made of: named checks with stable codes, and the first steps into an envelope."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from contracts.wire.canonical import canonical_bytes, plain_canonical_bytes
from contracts.wire.document import Contract
from contracts.wire.envelope import PAYLOAD_TYPE, Envelope, decode_base64
from contracts.wire.errors import ContractError
from contracts.wire.strict_json import MAX_KEYS, decode_json, is_crowded

__all__ = [
    "OPENING_CHECKS",
    "Check",
    "CheckFailed",
    "Verified",
    "code_of",
    "collect_checks",
    "open_envelope",
    "read_payload",
    "verdict_of",
]

_T = TypeVar("_T")
_Document = TypeVar("_Document", bound=Contract)

# The checks of `open_envelope`.
OPENING_CHECKS = ("size", "envelope", "payload type", "encoding")
_PARSE_CODES = {
    "too_large": "TOO_LARGE",
    "malformed_json": "MALFORMED",
    "out_of_range": "OUT_OF_RANGE",
    "schema_violation": "SCHEMA_VIOLATION",
    "weak_key": "WEAK_KEY",
}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: ``code`` is ``OK`` or the stable code of what is wrong."""

    name: str
    code: str
    message: str


class CheckFailed(Exception):
    """A check did not hold; ``code`` says which kind of wrong it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: ContractError) -> str:
    """Return the stable code of a document that was refused while it was parsed."""
    if any(fault.code == "too_deep" for fault in error.errors):
        return "TOO_LARGE"
    return _PARSE_CODES[error.code]


def verdict_of(checks: Sequence[Check]) -> str:
    """Return ``VALID``, or the code of the first check that failed."""
    return next((check.code for check in checks if check.code != "OK"), "VALID")


def collect_checks(names: Sequence[str], steps: Generator[str, None, _T]) -> tuple[tuple[Check, ...], _T | None]:
    """Run the steps of one verification up to the first that fails.

    Args:
        names: the checks, in order.
        steps: yields a message for each check that holds, raises ``CheckFailed`` for the one that does not, and
            returns what was verified.

    Returns:
        The results, and what was verified; None where a check failed.
    """
    done: list[Check] = []
    try:
        while True:
            message = next(steps)
            done.append(Check(names[len(done)], "OK", message))
    except StopIteration as end:
        return tuple(done), end.value
    except CheckFailed as failure:
        return (*done, Check(names[len(done)], failure.code, str(failure))), None


def _decode(text: str, what: str) -> bytes:
    try:
        return decode_base64(text)
    except ContractError as error:
        raise CheckFailed("MALFORMED", f"the {what} is not canonical base64") from error


def open_envelope(data: bytes) -> Generator[str, None, tuple[tuple[bytes, ...], bytes]]:
    """Make the ``OPENING_CHECKS``; return the signatures and the payload."""
    if len(data) > Envelope.MAX_BYTES:
        raise CheckFailed("TOO_LARGE", f"{len(data)} bytes; at most {Envelope.MAX_BYTES} are read")
    yield f"{len(data)} bytes"
    try:
        envelope = Envelope.parse(data)
    except ContractError as error:
        raise CheckFailed(code_of(error), str(error)) from error
    yield "one DSSE envelope, no field missing or unknown"
    if envelope.payloadType != PAYLOAD_TYPE:
        raise CheckFailed("UNSUPPORTED_TYPE", f"the payload type is not {PAYLOAD_TYPE}")
    yield PAYLOAD_TYPE
    signatures = tuple(_decode(each.sig, "signature") for each in envelope.signatures)
    payload = _decode(envelope.payload, "payload")
    yield "canonical base64"
    return signatures, payload


def read_payload(kind: type[_Document], payload: bytes) -> _Document:
    """Parse a signed payload and require that it is in RFC 8785 form, with every field under its own name.

    A field that may be left out elsewhere, or has another name in Python, may not in what is signed: other readers of
    the payload would see another document, and digests over its parts would be other ones.

    Raises:
        CheckFailed: it is not that document, or another spelling of it.
    """
    document = _read_plain(kind, payload)
    if document is not None:
        return document
    try:
        document = kind.parse(payload)
    except ContractError as error:
        raise CheckFailed(code_of(error), str(error)) from error
    if canonical_bytes(document.model_dump(mode="json", by_alias=True)) == payload:
        # What is the form of some document is in that form: nothing is left to ask.
        return document
    if canonical_bytes(decode_json(payload, max_bytes=kind.MAX_BYTES)) != payload:
        raise CheckFailed("MALFORMED", "the payload is not in RFC 8785 form")
    raise CheckFailed("SCHEMA_VIOLATION", "the payload leaves out a field, or has one under another name")


def _read_plain(kind: type[_Document], payload: bytes) -> _Document | None:
    """Read a payload that is as the engine writes them; None: it has to be looked at closely.

    What decoding strictly refuses cannot be part of the RFC 8785 form of a document, and what this leaves to it besides
    are documents so large that refusing them would cost too much. So where that form is the payload, byte for byte, it
    need not be decoded a second time.
    """
    if len(payload) > kind.MAX_BYTES or payload.count(b":") > MAX_KEYS or is_crowded(payload):
        return None
    try:
        document = kind.model_validate_json(payload)
    except ValidationError:
        return None
    return document if plain_canonical_bytes(document.model_dump(mode="json", by_alias=True)) == payload else None


@dataclass(frozen=True, slots=True)
class Verified(Generic[_T]):
    """The checks that were made, in order, and what they were made of; ``document`` is None where one failed."""

    checks: tuple[Check, ...]
    document: _T | None

    @property
    def verdict(self) -> str:
        """``VALID``, or the code of the check that failed."""
        return verdict_of(self.checks)
