"""The subject of an in-toto statement: what the statement is about, by digest."""

from typing import Annotated, Literal

from pydantic import StringConstraints

from contracts.wire.document import Contract

__all__ = ["Subject"]


class Subject(Contract):
    """One thing that the statement is about."""

    name: Literal["output", "plan"]
    """`plan`: its RFC 8785 form; `output`: the text in UTF-8."""
    digest: dict[Literal["sha256"], Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]
    """Hexadecimal SHA-256."""
