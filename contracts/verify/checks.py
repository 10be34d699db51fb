"""The parts of every verification: named checks with stable codes, and the first steps into an envelope.

A verification names each check when it begins it, and says why it holds when it does. The first check that does not
hold raises ``CheckFailed`` and ends the verification::

    with Checks() as checks:
        checks.begin("signature count")
        if len(signatures) != 1:
            raise CheckFailed("SIGNATURE_COUNT", f"{len(signatures)} signatures; exactly one is expected")
        checks.hold("exactly one")
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Concatenate, Generic, ParamSpec, Self, TypeVar

from pydantic import ValidationError

from contracts.wire.canonical import canonical_bytes, plain_canonical_bytes
from contracts.wire.document import Contract
from contracts.wire.envelope import PAYLOAD_TYPE, Envelope, decode_base64
from contracts.wire.errors import ContractError
from contracts.wire.strict_json import MAX_KEYS, decode_json, is_crowded

__all__ = [
    "Check",
    "CheckFailed",
    "Checks",
    "Verified",
    "code_of",
    "open_envelope",
    "read_payload",
    "run_checks",
    "verdict_of",
]

_T = TypeVar("_T")
_P = ParamSpec("_P")
_Document = TypeVar("_Document", bound=Contract)

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
    """A check did not hold; ``code`` says which kind of fault was found."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def verdict_of(checks: Sequence[Check]) -> str:
    """Return ``VALID``, or the code of the first check that failed."""
    return next((check.code for check in checks if check.code != "OK"), "VALID")


@dataclass(frozen=True, slots=True)
class Verified(Generic[_T]):
    """The checks that were made, in order, and the document they were made of; it is None if a check failed."""

    checks: tuple[Check, ...]
    document: _T | None

    @property
    def verdict(self) -> str:
        """``VALID``, or the code of the check that failed."""
        return verdict_of(self.checks)

    def require(self) -> _T:
        """Return the document, where the whole verification is one check of another one.

        Raises:
            CheckFailed: with the code of the check that failed; the message begins with its name.
        """
        if self.document is None:
            failed = self.checks[-1]
            raise CheckFailed(failed.code, f"{failed.name}: {failed.message}")
        return self.document


class Checks:
    """The checks of one verification, in the order in which they are made.

    As a context manager it turns ``CheckFailed`` into the last check and leaves the block; see the module's example.
    """

    def __init__(self) -> None:
        self._made: list[Check] = []
        self._name = ""
        self._prefix = ""

    @property
    def made(self) -> tuple[Check, ...]:
        """The checks so far; the last one is the first that failed, if any."""
        return tuple(self._made)

    def begin(self, name: str) -> None:
        """Name the check that is made next."""
        self._name = self._prefix + name

    def hold(self, message: str) -> None:
        """Record that the check holds, and why."""
        self._made.append(Check(self._name, "OK", message))

    def take(self, verified: Verified[_T]) -> _T:
        """Record all checks of another verification, under their own names, and return its document.

        Raises:
            CheckFailed: one of them failed.
        """
        for check in verified.checks:
            self.begin(check.name)
            if check.code != "OK":
                raise CheckFailed(check.code, check.message)
            self.hold(check.message)
        return verified.require()

    @contextmanager
    def prefixed(self, prefix: str) -> Iterator[None]:
        """Put a prefix before the name of each check that begins within."""
        self._prefix = prefix
        try:
            yield
        finally:
            self._prefix = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, CheckFailed):
            return False
        self._made.append(Check(self._name, error.code, str(error)))
        return True


def run_checks(steps: Callable[Concatenate[Checks, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Verified[_T]:
    """Run a verification up to its first check that fails.

    Args:
        steps: makes the checks and returns what was verified.
        *args: its arguments after the ``Checks``.
        **kwargs: the same.
    """
    document = None
    with Checks() as checks:
        document = steps(checks, *args, **kwargs)
    return Verified(checks.made, document)


def code_of(error: ContractError) -> str:
    """Return the stable code of a document that was refused while it was parsed."""
    if any(fault.code == "too_deep" for fault in error.errors):
        return "TOO_LARGE"
    return _PARSE_CODES[error.code]


def _decode(text: str, what: str) -> bytes:
    try:
        return decode_base64(text)
    except ContractError as error:
        raise CheckFailed("MALFORMED", f"the {what} is not canonical base64") from error


def open_envelope(checks: Checks, data: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Make the checks of an envelope's form; return the signatures and the payload."""
    checks.begin("size")
    if len(data) > Envelope.MAX_BYTES:
        raise CheckFailed("TOO_LARGE", f"{len(data)} bytes; at most {Envelope.MAX_BYTES} are read")
    checks.hold(f"{len(data)} bytes")
    checks.begin("envelope")
    try:
        envelope = Envelope.parse(data)
    except ContractError as error:
        raise CheckFailed(code_of(error), str(error)) from error
    checks.hold("one DSSE envelope, no field missing or unknown")
    checks.begin("payload type")
    if envelope.payloadType != PAYLOAD_TYPE:
        raise CheckFailed("UNSUPPORTED_TYPE", f"the payload type is not {PAYLOAD_TYPE}")
    checks.hold(PAYLOAD_TYPE)
    checks.begin("encoding")
    signatures = tuple(_decode(each.sig, "signature") for each in envelope.signatures)
    payload = _decode(envelope.payload, "payload")
    checks.hold("canonical base64")
    return signatures, payload


def read_payload(kind: type[_Document], payload: bytes) -> _Document:
    """Parse a signed payload and require that it is in RFC 8785 form, with every field under its own name.

    A signed document has every field, also those that are optional elsewhere, and no Python name in the place of a
    field's name. Otherwise other readers of the payload would see another document with other digests.

    Raises:
        CheckFailed: the payload is not that document, or spells it in another way.
    """
    document = _read_plain(kind, payload)
    if document is not None:
        return document
    try:
        document = kind.parse(payload)
    except ContractError as error:
        raise CheckFailed(code_of(error), str(error)) from error
    if canonical_bytes(document.model_dump(mode="json", by_alias=True)) == payload:
        # The payload equals the form of a document, so it is in that form.
        return document
    if canonical_bytes(decode_json(payload, max_bytes=kind.MAX_BYTES)) != payload:
        raise CheckFailed("MALFORMED", "the payload is not in RFC 8785 form")
    raise CheckFailed("SCHEMA_VIOLATION", "the payload leaves out a field, or has one under another name")


def _read_plain(kind: type[_Document], payload: bytes) -> _Document | None:
    """Read a payload that is spelled as the engine spells it; None means that it has to be decoded strictly.

    Nothing that strict decoding refuses can be part of a document's RFC 8785 form. So a payload that equals this form,
    byte for byte, need not be decoded a second time. Very large documents are left to strict decoding, because
    refusing them here would cost too much.
    """
    if len(payload) > kind.MAX_BYTES or payload.count(b":") > MAX_KEYS or is_crowded(payload):
        return None
    try:
        document = kind.model_validate_json(payload)
    except ValidationError:
        return None
    return document if plain_canonical_bytes(document.model_dump(mode="json", by_alias=True)) == payload else None
