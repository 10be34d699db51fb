"""One operation of the API, described as data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from contracts.wire.document import Contract
from contracts.wire.types import Permission

__all__ = ["EXECUTION_ID", "Operation", "Parameter", "Shape"]

# 2^53 - 1, the largest integer that every JSON reader holds exactly, has 16 digits.
_INTEGER = re.compile(r"[0-9]{1,16}")

# How errors are told: as problem documents (RFC 9457), or as OpenAI's clients expect them.
Shape = Literal["problem", "openai"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter outside the body: requests are checked against it, and the OpenAPI document shows it."""

    name: str
    where: str
    description: str
    schema: dict[str, Any]
    required: bool = False
    example: str | None = None
    form: str | None = None
    """The schema's pattern in words."""

    def allows(self, value: str) -> bool:
        """Return whether the schema allows a value as it was sent. As in a JSON Schema, digits are ASCII digits."""
        if self.schema["type"] == "integer":
            return bool(_INTEGER.fullmatch(value)) and self.schema["minimum"] <= int(value) <= self.schema["maximum"]
        if "enum" in self.schema:
            return value in self.schema["enum"]
        return re.fullmatch(self.schema.get("pattern", ".*"), value) is not None

    def requirement(self) -> str:
        """Return in words what the schema allows."""
        if self.schema["type"] == "integer":
            return f"a number from {self.schema['minimum']} to {self.schema['maximum']}"
        if "enum" in self.schema:
            return " or ".join(f"`{value}`" for value in self.schema["enum"])
        return self.form or "text"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. Responses without a model have the media type `media_type`."""

    operation_id: str
    method: str
    path: str
    summary: str
    description: str
    responses: dict[int, tuple[str, type[Contract] | None]]
    problems: tuple[str, ...]
    # What the caller's role must allow; None: it is answered without a token.
    permission: Permission | None = field(kw_only=True)
    request: type[Contract] | None = None
    parameters: tuple[Parameter, ...] = ()
    # The events of a stream by name; an event without a name is a `message` to its reader. Empty: there is no stream.
    events: Mapping[str, type[Contract]] = field(default_factory=dict)
    # The data of the last event of a stream, where it is no document.
    last_data: str | None = None
    # Status and JSON Pointer at which a response has the execution_id that other operations take as a parameter.
    names_execution: tuple[int, str] | None = None
    media_type: str = "application/json"
    shape: Shape = "problem"


EXECUTION_ID = Parameter(
    "execution_id",
    "path",
    "Identifier of the execution.",
    {"type": "string", "pattern": "^exec_[0-9a-f]{32}$"},
    required=True,
    form="`exec_` and 32 hexadecimal digits",
)
