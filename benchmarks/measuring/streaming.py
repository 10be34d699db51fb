"""Streams of one execution: when a client reads each token, compared with when the supervisor had it."""

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.engine import Engine
from supervisor.client.event_stream import parse_events

__all__ = ["Arrivals", "delays_ns", "read_slowly", "read_stream"]

SLOW_PAUSE_S = 0.25
SLOW_BYTES = 64
# The smallest buffer the kernel grants, so that unread data waits on the supervisor's side.
SLOW_BUFFER_BYTES = 2048


@dataclass(slots=True)
class Arrivals:
    """A stream as a client saw it."""

    execution_id: str = ""
    token_ns: list[int] = field(default_factory=list)
    """Monotonic clock, when each event was read."""
    ended: str = ""
    """Name of the last event."""


def read_stream(engine: Engine, request: dict[str, Any], headers: dict[str, str] | None = None) -> Arrivals:
    """Execute a request and note when each of its tokens arrives."""
    client = engine.http.another()
    seen = Arrivals()
    try:
        response = client.open_stream("/v1/runs", request, {"Accept": "text/event-stream", **(headers or {})})
        for event in parse_events(response):
            if event.name == "token":
                seen.token_ns.append(time.monotonic_ns())
                continue
            seen.execution_id = seen.execution_id or event.document.get("execution_id", "")
            seen.ended = event.name
    finally:
        client.close()
    return seen


def delays_ns(supervisor_ns: list[int], client_ns: list[int]) -> list[int]:
    """Return by how much each token reached the client later than the fastest one.

    The supervisor's times count from the first byte of the job, at a moment that the client cannot know. So the token
    that took least sets the zero: what it took itself is not in these numbers.
    """
    behind = [client - supervisor for supervisor, client in zip(supervisor_ns, client_ns, strict=True)]
    fastest = min(behind)
    return [each - fastest for each in behind]


def read_slowly(engine: Engine, request: dict[str, Any], key: str) -> tuple[socket.socket, bytes]:
    """Start streaming an execution on a socket with a tiny buffer; return the socket and its first bytes."""
    body = json.dumps(request).encode("utf-8")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
    connection.connect(("127.0.0.1", engine.port))
    head = (
        f"POST /v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {engine.home.token()}\r\n"
        f"Accept: text/event-stream\r\nIdempotency-Key: {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode("ascii") + body)
    return connection, connection.recv(SLOW_BYTES)
