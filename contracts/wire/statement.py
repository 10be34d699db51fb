"""The subject of an in-toto statement: the bytes that the statement is about, named by digest."""

from typing import Annotated, Literal

from pydantic import StringConstraints

from contracts.wire.document import Contract

__all__ = ["Subject"]


class Subject(Contract):
    """One of the byte sequences that the statement is about."""

    name: Literal["output", "plan"]
    """`plan`: the execution plan in RFC 8785 form. `output`: the generated text in UTF-8."""
    digest: dict[Literal["sha256"], Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]
    """SHA-256 of those bytes, as 64 hexadecimal digits."""
