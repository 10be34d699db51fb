"""The base class of every wire model: frozen, strict, and parsed only from unambiguous bytes."""

import hashlib
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.wire.canonical import canonical_bytes
from contracts.wire.errors import ContractError, FieldError
from contracts.wire.strict_json import decode_json

__all__ = [
    "Contract",
    "Many",
    "sha256_digest",
]

# Maximum number of faults listed for one document: an answer must not grow far larger than its request.
MAX_FIELD_ERRORS = 20

_T = TypeVar("_T")
# A list in a wire model. Validation stops at its first fault: a fault costs some 800 bytes, and refusing a list of
# 6 MiB in which every element was faulty took 2.6 GB.
Many = Annotated[tuple[_T, ...], Field(fail_fast=True)]


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _without_followers(faults: list[Any]) -> list[Any]:
    """Leave out that a list is too short where the validation stopped at a fault inside it."""
    inside = {fault["loc"][: len(fault["loc"]) - 1 - up] for fault in faults for up in range(len(fault["loc"]))}
    return [fault for fault in faults if fault["type"] != "too_short" or fault["loc"] not in inside]


class Contract(BaseModel):
    """A document that crosses a boundary: immutable, no coercion, no unknown fields, no non-finite numbers."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    MAX_BYTES: ClassVar[int] = 1_048_576
    """Maximum size in bytes; a larger document is refused before it is parsed."""

    READS_WHOLE_FLOATS: ClassVar[bool] = False
    """Whether `parse` reads 8.0 as the integer 8 in the fields that `contracts.wire.types.WHOLE` marks."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a document that was received from outside.

        Raises:
            ContractError: the document is refused; the error names the faulty fields and quotes no value.
        """
        decode_json(data, max_bytes=cls.MAX_BYTES)
        try:
            return cls.model_validate_json(data, context={"reads_whole_floats": cls.READS_WHOLE_FLOATS})
        except ValidationError as error:
            faults = _without_followers(error.errors(include_url=False, include_context=False, include_input=False))
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
