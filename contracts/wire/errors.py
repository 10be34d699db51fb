"""What is raised when a document is refused, and the faults it names."""

from pydantic import BaseModel, ConfigDict

__all__ = ["ContractError", "FieldError"]

MAX_FIELD_CHARACTERS = 256


class FieldError(BaseModel):
    """One fault in one document: where (RFC 6901 JSON Pointer), which kind (stable code) and what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    """JSON Pointer to the faulty value; empty for the whole document."""
    code: str
    """Stable identifier of the kind of fault."""
    message: str
    """What is wrong, in words; never quotes the value."""


class ContractError(Exception):
    """A document was refused.

    Attributes:
        code: ``too_large``, ``malformed_json`` (not one JSON value), ``out_of_range`` (an integer beyond 2^53-1) or
            ``schema_violation`` (JSON of another shape).
        errors: every fault found, at most ``MAX_FIELD_ERRORS``.
    """

    def __init__(self, code: str, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{_printable(error.field) or 'document'}: {error.message}" for error in errors))
        self.code = code
        self.errors = errors


def _printable(field: str) -> str:
    # The name of an unknown field is somebody else's text of any length, and the message ends up on a terminal.
    text = field if len(field) <= MAX_FIELD_CHARACTERS else field[:MAX_FIELD_CHARACTERS] + "..."
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
