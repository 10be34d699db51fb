"""One operation of the API, described as data."""

from dataclasses import dataclass
from typing import Any

from contracts.wire.document import Contract

__all__ = ["EXECUTION_ID", "Operation", "Parameter"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter outside the body."""

    name: str
    where: str
    description: str
    schema: dict[str, Any]
    required: bool = False
    example: str | None = None


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
    request: type[Contract] | None = None
    parameters: tuple[Parameter, ...] = ()
    streams: bool = False
    # Status and JSON Pointer at which a response has the execution_id that other operations take as a parameter.
    names_execution: tuple[int, str] | None = None
    media_type: str = "application/json"


EXECUTION_ID = Parameter(
    "execution_id",
    "path",
    "Identifier of the execution.",
    {"type": "string", "pattern": "^exec_[0-9a-f]{32}$"},
    required=True,
)
