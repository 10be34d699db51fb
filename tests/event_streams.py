"""Event streams as an asynchronous client reads them; the client's own parser does the work."""

from aiohttp import ClientResponse

from supervisor.client.event_stream import EventParser, StreamEvent

__all__ = ["read_event", "read_events"]


async def read_event(answer: ClientResponse) -> StreamEvent | None:
    """Return the next event of a stream, or None at its end; the session's timeout bounds the wait."""
    parser = EventParser()
    while line := await answer.content.readline():
        event = parser.take(line)
        if event is not None:
            return event
    return None


async def read_events(answer: ClientResponse) -> list[StreamEvent]:
    """Return all events up to the end of a stream."""
    events = []
    while (event := await read_event(answer)) is not None:
        events.append(event)
    return events
