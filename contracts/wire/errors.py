"""The error raised when a document is refused, and the faults that it lists."""

from pydantic import BaseModel, ConfigDict

__all__ = ["ContractError", "FieldError"]

MAX_FIELD_CHARACTERS = 256


class FieldError(BaseModel):
    """One fault in a document: its place, a stable code and an explanation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    field: str
    """JSON Pointer (RFC 6901) to the faulty value; an empty string means the whole document."""
    code: str
    """Stable identifier of the kind of fault."""
    message: str
    """Explanation in English; it never quotes the faulty value."""


class ContractError(Exception):
    """A document was refused.

    Attributes:
        code: ``too_large``, ``malformed_json`` (not one JSON value), ``out_of_range`` (an integer beyond 2^53-1) or
            ``schema_violation`` (JSON of another shape).
        errors: the faults found, at most ``MAX_FIELD_ERRORS``.
    """

    def __init__(self, code: str, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{_printable(error.field) or 'document'}: {error.message}" for error in errors))
        self.code = code
        self.errors = errors


def _printable(field: str) -> str:
    # The name of an unknown field comes from outside and may have any length; the message is shown on a terminal.
    text = field if len(field) <= MAX_FIELD_CHARACTERS else field[:MAX_FIELD_CHARACTERS] + "..."
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
