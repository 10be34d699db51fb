"""The root of every wire model: frozen, strict, and parsed only from bytes that mean exactly one thing."""

import hashlib
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.wire.canonical import canonical_bytes
from contracts.wire.errors import ContractError, FieldError
from contracts.wire.strict_json import decode_json

__all__ = [
    "Contract",
    "Many",
    "sha256_digest",
]

# At most so many faults are listed for one document, so that an answer cannot be made larger than its request.
MAX_FIELD_ERRORS = 20

_T = TypeVar("_T")
# A list of a wire model, judged up to its first fault: a fault costs some 800 bytes, and a list of 6 MiB that holds
# nothing else took 2.6 GB to refuse.
Many = Annotated[tuple[_T, ...], Field(fail_fast=True)]


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


class Contract(BaseModel):
    """A document that crosses a boundary: immutable, no coercion, no unknown fields, no non-finite numbers."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    MAX_BYTES: ClassVar[int] = 1_048_576
    """The largest document of this kind that is read."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse bytes from outside.

        Raises:
            ContractError: naming every faulty field, never quoting a value.
        """
        decode_json(data, max_bytes=cls.MAX_BYTES)
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            raise ContractError(
                "schema_violation",
                tuple(
                    FieldError(field=_pointer(fault["loc"]), code=fault["type"], message=fault["msg"])
                    for fault in faults[:MAX_FIELD_ERRORS]
                ),
            ) from None

    def canonical(self) -> bytes:
        """Return the document in RFC 8785 form: one meaning, one sequence of bytes."""
        return canonical_bytes(self.model_dump(mode="json"))

    def canonical_digest(self) -> str:
        """Return ``sha256:`` and the hexadecimal SHA-256 of the canonical form."""
        return sha256_digest(self.canonical())


def sha256_digest(data: bytes) -> str:
    """Return ``sha256:`` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
