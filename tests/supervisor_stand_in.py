"""A supervisor of a few lines on a home's socket: it answers as a test says, and remembers what it was asked."""

import base64
import http.server
import json
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

from supervisor.adapters.home import Home
from supervisor.adapters.unix_socket import listen_unix

__all__ = ["Refused", "StandIn", "model_view", "said", "serving"]

StreamedEvent = tuple[str, dict[str, Any]]
Script = Callable[[dict[str, Any]], Iterator[StreamedEvent]]
DIGEST = "sha256:" + "a" * 64
WAIT_S = 30


class Refused(Exception):
    """The request is refused before anything is streamed."""

    def __init__(self, code: str, detail: str, **more: object) -> None:
        super().__init__(code)
        self.problem = {"code": code, "detail": detail, **more}


def model_view(name: str = "small", quantization: str = "q4_1", **changes: object) -> dict[str, Any]:
    """One entry of `GET /v1/models`."""
    return {
        "name": name,
        "quantization": quantization,
        "parent": None,
        "architecture": "llama",
        "context_length": 2048,
        "sha256": DIGEST,
        "size_bytes": 98_362_432,
        "mixture": [{"type": quantization, "elements": 1}],
        "chat_template": DIGEST,
        "signature": None,
        **changes,
    }


def backend_view(name: str, *, installed: bool = True, runnable: bool = True) -> dict[str, Any]:
    """One entry of `GET /v1/backends`."""
    missing = [] if runnable else ["avx512f"]
    image = DIGEST if installed else None
    return {
        **{"name": name, "installed": installed, "runnable": runnable},
        **{"image": image, "missing_cpu_features": missing},
    }


def said(*texts: str, rest: str = "", finish_reason: str = "eos") -> Script:
    """Answer every request with these tokens."""

    def script(_request: dict[str, Any]) -> Iterator[StreamedEvent]:
        for index, text in enumerate(texts):
            yield "token", {"index": index, "text": text}
        yield (
            "done",
            {
                "output": "".join(texts) + rest,
                "rest": rest,
                "metrics": {"tokens_total": len(texts), "tokens_per_sec": None, "finish_reason": finish_reason},
            },
        )

    return script


@dataclass
class StandIn:
    """What is answered, and what was asked."""

    script: Script = field(default_factory=lambda: said("Paris"))
    models: list[dict[str, Any]] = field(default_factory=lambda: [model_view()])
    backends: list[dict[str, Any]] = field(
        default_factory=lambda: [backend_view("cpu_avx2"), backend_view("cpu_avx512", installed=False)]
    )
    prompt_format: str = "chat"
    version: dict[str, Any] = field(default_factory=dict)
    """The answer to `GET /v1/version`."""
    health_status: int = 200
    """Of the answer to `GET /healthz`."""
    plan_problem: dict[str, Any] | None = None
    """Why `POST /v1/plans` refuses; None: it does not."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    released: Event = field(default_factory=Event)
    """Set when an execution is cancelled; a script may wait for it."""

    def execution_id(self) -> str:
        """The id of the newest execution."""
        return f"exec_{len(self.requests):032x}"

    def document_at(self, path: str) -> dict[str, Any]:
        """What a GET answers."""
        if path == "/v1/models":
            return {"models": self.models}
        if path == "/v1/version" and self.version:
            return self.version
        if path == "/v1/backends":
            return {"backends": self.backends}
        if path.endswith("/record"):
            payload = json.dumps({"predicate": {"plan": {"prompt_format": self.prompt_format}}})
            return {"payload": base64.b64encode(payload.encode()).decode()}
        if path.endswith("/bundle"):
            return {"bundle": path}
        return {"status": "queued", "queue_position": 3, "output": ""}


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: "_Server"

    def do_GET(self) -> None:
        stand_in = self.server.stand_in
        self._answer(stand_in.health_status if self.path == "/healthz" else 200, stand_in.document_at(self.path))

    def do_DELETE(self) -> None:
        stand_in = self.server.stand_in
        stand_in.cancelled.append(self.path.rpartition("/")[2])
        stand_in.released.set()
        self._answer(200, {"status": "cancelled"})

    def do_POST(self) -> None:
        stand_in = self.server.stand_in
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/plans":
            self._answer(200 if stand_in.plan_problem is None else 422, stand_in.plan_problem or {})
            return
        stand_in.requests.append(request)
        execution_id = stand_in.execution_id()
        try:
            events = stand_in.script(request)
            # A generator runs only from here on.
            first = next(events)
        except Refused as refused:
            self._answer(422, refused.problem)
            return
        self.send_response(200)
        self.end_headers()
        self._send("started", {"execution_id": execution_id, "plan_digest": DIGEST})
        try:
            self._send(*first)
            for name, document in events:
                self._send(name, document)
        except Refused as refused:
            self._send("error", refused.problem)
        except BrokenPipeError:
            pass

    def _send(self, name: str, document: dict[str, Any]) -> None:
        if name == "done":
            execution_id = self.server.stand_in.execution_id()
            record = f"/v1/runs/{execution_id}/record"
            document = {"execution_id": execution_id, "status": "completed", "record": record, **document}
        self.wfile.write(f"event: {name}\ndata: {json.dumps(document)}\n\n".encode())
        self.wfile.flush()

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers on a home's socket."""

    daemon_threads = True
    stand_in: StandIn


@contextmanager
def serving(home: Home, stand_in: StandIn) -> Iterator[StandIn]:
    """Serve a home while the block runs."""
    home.socket.parent.mkdir(parents=True)
    with _Server("", _Handler, bind_and_activate=False) as server:
        server.stand_in = stand_in
        server.socket.close()
        server.socket = listen_unix(home.socket)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield stand_in
        finally:
            stand_in.released.set()
            server.shutdown()
            thread.join()
