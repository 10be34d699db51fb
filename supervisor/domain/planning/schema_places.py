"""Places in a JSON Schema, and the refusal of a keyword at a place."""

from typing import NoReturn

from pydantic import JsonValue

from supervisor.domain.errors import Refusal

__all__ = ["Schema", "join_pointer", "refuse", "split_pointer"]

Schema = dict[str, JsonValue]

KEYWORD_CHARS_SHOWN = 64
POINTER_CHARS_SHOWN = 256


def join_pointer(pointer: str, step: str | int) -> str:
    """Return the JSON pointer (RFC 6901) of a part of what another pointer names."""
    return f"{pointer}/{str(step).replace('~', '~0').replace('/', '~1')}"


def split_pointer(pointer: str) -> list[str]:
    """Return the steps of a JSON pointer."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def refuse(keyword: str, at: str, reason: str) -> NoReturn:
    """Refuse a keyword of the schema at a JSON pointer; without a keyword, refuse the schema itself.

    Raises:
        Refusal: ``json_schema_unsupported``.
    """
    place = (join_pointer(at, keyword) if keyword else at)[:POINTER_CHARS_SHOWN]
    subject = f"the keyword {keyword[:KEYWORD_CHARS_SHOWN]}" if keyword else "the schema"
    detail = f"{subject} at {place or 'the top'} cannot be enforced: {reason}"
    raise Refusal("json_schema_unsupported", detail, field="/execution/json_schema")
