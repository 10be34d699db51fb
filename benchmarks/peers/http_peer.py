"""One persistent HTTP connection: the same client for the engine and for llama-server."""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Answer", "HttpPeer"]

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, and how long it took from the first byte sent to the last one read."""

    status: int
    body: bytes
    seconds: float
    headers: dict[str, str]

    @property
    def document(self) -> Any:  # noqa: ANN401 - a JSON document
        """The body as JSON."""
        return json.loads(self.body)


class HttpPeer:
    """A client of one server on loopback."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def another(self) -> "HttpPeer":
        """Return a client of the same server, on a connection of its own."""
        other = HttpPeer(self._port)
        other._headers = dict(self._headers)
        return other

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def renew(self, path: str) -> None:
        """Open a new connection and use it once: a server cuts one that was idle, llama-server after 5 s."""
        self.close()
        self.ask("GET", path)

    def ask(self, method: str, path: str, document: object = None, headers: dict[str, str] | None = None) -> Answer:
        """Return the answer to one request."""
        body = None if document is None else json.dumps(document).encode("utf-8")
        begun_s = time.perf_counter()
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        content = response.read()
        return Answer(response.status, content, time.perf_counter() - begun_s, dict(response.headers))

    def open_stream(self, path: str, document: object, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Return an answer whose body is still unread."""
        body = json.dumps(document).encode("utf-8")
        self._connection.request("POST", path, body, {**self._headers, **headers})
        return self._connection.getresponse()
