"""A stand-in of the Hugging Face Hub and of any web server: as much of HTTP as a fetch needs, with its troubles."""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["COMMIT", "REPOSITORY", "HubStandIn", "serving_hub"]

REPOSITORY = "tiny/Tiny-GGUF"
COMMIT = "c" * 40


@dataclass
class HubStandIn:
    """What is served, and what was asked for."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    sha256_of: dict[str, str] = field(default_factory=dict)
    """What the hub says of a file, where that is not true."""
    tells_digests: bool = True
    card: dict[str, str] = field(default_factory=lambda: {"license": "apache-2.0"})
    gated: str | bool = False
    token: str | None = None
    """Only requests with this token are answered; None: all are."""
    breaks_after: list[int] = field(default_factory=list)
    """For each of the next transfers, the number of bytes after which the connection ends."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the next transfers instead of the file."""
    stalls: bool = False
    """Whether transfers send nothing and stay open."""
    ranges: bool = True
    """Whether a transfer can go on in the middle."""
    tells_length: bool = True
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Range of each request."""
    ended: threading.Event = field(default_factory=threading.Event)

    def transfers(self) -> list[str | None]:
        """Return the Range of each transfer of a file."""
        return [asked for method, path, asked in self.requests if method == "GET" and "/api/" not in path]


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.token is not None and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            self._send(200, json.dumps(self._describe()).encode())
        else:
            name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/").lstrip("/")
            if name in self.hub.files:
                self._transfer(name, self.hub.files[name])
            else:
                code = "EntryNotFound" if path.startswith(f"/{REPOSITORY}/") else "RepoNotFound"
                self._send(404, b"", {"X-Error-Code": code})

    def _describe(self) -> dict[str, Any]:
        siblings = []
        for name, content in self.hub.files.items():
            digest = self.hub.sha256_of.get(name) or hashlib.sha256(content).hexdigest()
            lfs = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(
                {"rfilename": name, "size": len(content), "blobId": "b" * 40}
                | ({"lfs": lfs} if name.endswith(".gguf") and self.hub.tells_digests else {})
            )
        return {
            "id": REPOSITORY,
            "modelId": REPOSITORY,
            "sha": COMMIT,
            "gated": self.hub.gated,
            "private": False,
            "tags": [f"license:{self.hub.card.get('license', 'other')}"],
            "cardData": self.hub.card,
            "siblings": siblings,
        }

    def _transfer(self, name: str, content: bytes) -> None:
        begin, status = 0, 200
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("Range")
        if self.command == "GET" and self.hub.statuses:
            self._send(self.hub.statuses.pop(0), b"")
            return
        if asked and self.hub.ranges:
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
            if begin >= len(content):
                self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        if self.command == "HEAD":
            self._send(status, content[begin:], headers)
            return
        if self.hub.stalls:
            self.hub.ended.wait()
            self.close_connection = True
            return
        cut = self.hub.breaks_after.pop(0) if self.hub.breaks_after else None
        self._send(status, content[begin:], headers, cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.hub.tells_length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None or not self.hub.tells_length:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    # A transfer that stalls must not keep the test from ending.
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the other side has gone, which some tests want."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving_hub(**attributes: Any) -> Iterator[HubStandIn]:
    """Serve on a free port of this machine while the block runs."""
    hub = HubStandIn(**attributes)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with _Server(("127.0.0.1", 0), handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.ended.set()
            server.shutdown()
            thread.join()
