"""Server-sent events, from the lines of a stream to documents; nothing here reads or writes."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["EventParser", "StreamEvent", "parse_events"]


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event."""

    name: str
    document: dict[str, Any]


class EventParser:
    """Turns the lines of one stream into events, and ignores comments and unknown fields."""

    def __init__(self) -> None:
        self._name = ""
        self._data: list[bytes] = []

    def take(self, line: bytes) -> StreamEvent | None:
        """Return the event that a line completes; None where the event goes on.

        An empty line completes an event, so an event that breaks off is never returned.

        Args:
            line: the line, with or without its end.

        Raises:
            ValueError: the name or the data is not UTF-8, or the data is not JSON.
        """
        line = line.rstrip(b"\r\n")
        if not line:
            return self._complete()
        field, _, value = line.partition(b":")
        if field == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8")
        elif field == b"data":
            self._data.append(value.removeprefix(b" "))
        return None

    def _complete(self) -> StreamEvent | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        return StreamEvent(name, json.loads(b"\n".join(data).decode("utf-8"))) if data else None


def parse_events(lines: Iterable[bytes]) -> Iterator[StreamEvent]:
    """Yield the events of a stream as its lines come.

    Raises:
        ValueError: like `EventParser.take`.
    """
    parser = EventParser()
    for line in lines:
        event = parser.take(line)
        if event is not None:
            yield event
