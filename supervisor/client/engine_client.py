"""The command line's client of the API: it finds socket and token in the home, and speaks only HTTP."""

import http.client
import json
import secrets
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.adapters.home import Home
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.identity.trust_file import read_trust
from supervisor.adapters.unix_socket import connect_unix, listener_pid
from supervisor.client.event_stream import StreamEvent, parse_events
from supervisor.client.proof import verify_answer
from supervisor.domain.errors import EngineError

__all__ = ["Answer", "EngineClient"]

LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT_S = 5.0
# A stream sends something at least every 15 s.
READ_TIMEOUT_S = 60.0
MAX_ANSWER_BYTES = 8_388_608


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the API, of any status."""

    status: int
    body: bytes

    @property
    def document(self) -> Any:  # noqa: ANN401 - a JSON document
        """The body as JSON."""
        return json.loads(self.body)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the supervisor's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = connect_unix(self._path, CONNECT_TIMEOUT_S)


class EngineClient:
    """Talks to the supervisor of one home."""

    def __init__(self, home: Home, read_timeout_s: float = READ_TIMEOUT_S, *, port: int | None = None) -> None:
        """Create a client.

        Args:
            home: holds the socket, the token, and the keys that an engine is known by.
            read_timeout_s: seconds without a byte after which an answer is given up.
            port: TCP port on loopback; None means the Unix socket, which only the home's owner can reach. On a port
                anybody may listen, so that the engine must prove itself before it gets the token.
        """
        self._home = home
        self._read_timeout_s = read_timeout_s
        self._port = port

    def is_serving(self) -> bool:
        """Return whether a supervisor of this home answers."""
        try:
            self.get("/v1/version")
        except EngineError:
            return False
        return True

    def is_served_by(self, pid: int) -> bool:
        """Return whether the supervisor that answers is this process, not another one of the same home."""
        try:
            with closing(connect_unix(self._home.socket, CONNECT_TIMEOUT_S)) as connected:
                listener = listener_pid(connected)
        except OSError:
            return False
        return listener == pid and self.is_serving()

    def get(self, path: str) -> Any:  # noqa: ANN401 - a JSON document
        """Return the document at a path.

        Raises:
            EngineError: with the code of the API's problem, or ``engine_unavailable`` where nothing answers.
        """
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        """Return the bytes at a path; raises like `get`."""
        with self._request("GET", path, None, {}) as response:
            return response.read(MAX_ANSWER_BYTES)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Return the answer to one request, refusals included; a header given here replaces the client's own.

        Raises:
            EngineError: ``engine_unavailable``, no supervisor answers.
        """
        with self._answering(method, path, body, headers or {}) as response:
            return Answer(response.status, response.read(MAX_ANSWER_BYTES))

    def stream_run(self, request: dict[str, Any] | bytes) -> Generator[StreamEvent, None, None]:
        """Execute a request and yield its events as they arrive; bytes are sent unchanged.

        Closing the generator closes the connection, which cancels an execution that has not ended.

        Raises:
            EngineError: like `get`.
        """
        body = request if isinstance(request, bytes) else json.dumps(request).encode("utf-8")
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        with self._request("POST", "/v1/runs", body, headers) as response:
            yield from parse_events(response)

    @contextmanager
    def _request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        with self._answering(method, path, body, headers) as response:
            if response.status >= http.client.BAD_REQUEST:
                problem = json.loads(response.read(MAX_ANSWER_BYTES))
                available = problem.get("available")
                choices = f" (there is: {', '.join(available) or 'none'})" if available is not None else ""
                raise EngineError(problem["code"], problem["detail"] + choices)
            yield response

    @contextmanager
    def _answering(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        connection: http.client.HTTPConnection = _UnixConnection(self._home.socket)
        authorized = {"Authorization": f"Bearer {self._home.token()}", **headers}
        try:
            if self._port is not None:
                connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=CONNECT_TIMEOUT_S)
                self._require_proof(connection)
            connection.request(method, path, body, authorized)
            connection.sock.settimeout(self._read_timeout_s)
            with connection.getresponse() as response:
                yield response
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            detail = f"no supervisor of {self._home.root} answers ({type(error).__name__}); start one with: make serve"
            raise EngineError("engine_unavailable", detail) from error
        finally:
            connection.close()

    def _require_proof(self, connection: http.client.HTTPConnection) -> None:
        """Connect, and require that the engine is on the other end.

        Raises:
            EngineError: ``address_unproven``; no token was sent.
        """
        connection.connect()
        # A connection that ends must not be opened again: the one that listens then has proven nothing.
        connection.auto_open = 0
        host, port = connection.sock.getpeername()
        nonce = secrets.token_urlsafe(32)
        connection.request("GET", f"/v1/challenge?nonce={nonce}")
        with connection.getresponse() as response:
            answer = response.read(MAX_ANSWER_BYTES)
        proof = verify_answer(
            answer,
            nonce=nonce,
            address=f"{host}:{port}",
            trust=read_trust(self._home.trust_file),
            releases=ReleaseStore(self._home.root),
        )
        if proof.document is None:
            why = proof.checks[-1].message
            detail = f"who listens at {host}:{port} is not the engine of {self._home.root}: {why}; no token was sent"
            raise EngineError("address_unproven", detail)
