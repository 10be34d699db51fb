"""A container engine that hangs while it removes containers holds up nothing else."""

import asyncio
import socketserver
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import docker
import pytest

from supervisor.adapters.docker import removals
from supervisor.adapters.docker.making import ContainerMaker
from supervisor.adapters.docker.sandboxes import DockerSandboxes
from supervisor.domain.sandbox.container_engine import ContainerEngineDescription

PATIENCE_S = 20
# More than there are threads in either pool.
HUNG = 40


class FakeContainerEngine(socketserver.ThreadingUnixStreamServer):
    """Answers pings and looks at images at once; removals only when it is let go."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.let_go = threading.Event()
        self.status = 204
        self.removed: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: FakeContainerEngine
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(200, b"OK" if self.path.endswith("/_ping") else b"{}")

    def do_DELETE(self) -> None:
        self.server.let_go.wait(PATIENCE_S)
        self.server.removed.append(self.path)
        self._answer(self.server.status, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeContainerEngine]:
    with FakeContainerEngine(tmp_path / "s") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.let_go.set()
        server.shutdown()
        thread.join()


@pytest.fixture
async def sandboxes(engine: FakeContainerEngine, tmp_path: Path) -> AsyncIterator[DockerSandboxes]:
    client = docker.APIClient(base_url=f"unix://{tmp_path}/s", version="1.41", timeout=PATIENCE_S)
    engine_of_tests = ContainerEngineDescription("Docker", "20.10", "cgroupfs", "runc", False, "1")
    made = DockerSandboxes(ContainerMaker(client, engine_of_tests, tmp_path / "profiles"), "instance")
    yield made
    engine.let_go.set()
    await made.close()


def counted(sandboxes: DockerSandboxes) -> dict[str, float]:
    return {sample.name: sample.value for family in sandboxes.metrics.collect() for sample in family.samples}


async def test_removals_that_hang_hold_up_no_other_call(
    engine: FakeContainerEngine, sandboxes: DockerSandboxes
) -> None:
    gone: list[int] = []
    tasks = [sandboxes._removals.begin(f"c{index}", None, lambda: gone.append(1)) for index in range(HUNG)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENCE_S / 2):
        for _ in range(10):
            assert await sandboxes.is_up()
            await sandboxes.require_image("sha256:" + "0" * 64)
    assert not engine.removed, "all of that went on while removals hang"
    assert counted(sandboxes)["weos_removals"] == HUNG
    assert not sandboxes._removals.is_crowded, "no execution waits for its removal yet"
    engine.let_go.set()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*tasks)
    assert len(gone) == len(set(engine.removed)) == HUNG, "and each is removed at last"
    assert counted(sandboxes) == {"weos_removals": 0, "weos_removal_failures_total": 0}


async def test_what_is_left_has_a_bound(sandboxes: DockerSandboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "LEFT_MAX", 2)
    crowded = []
    for index in range(4):
        sandboxes._removals.begin(f"c{index}", None, lambda: None)
        crowded.append(sandboxes._removals.is_crowded)
    assert crowded == [False, False, True, True]


async def test_a_removal_that_fails_is_counted_and_tried_again(
    engine: FakeContainerEngine, sandboxes: DockerSandboxes
) -> None:
    engine.let_go.set()
    engine.status = 500
    task = sandboxes._removals.begin("c", None, lambda: None)
    async with asyncio.timeout(PATIENCE_S):
        while not engine.removed:  # noqa: ASYNC110 - the fake does not know of us
            await asyncio.sleep(0.01)
        engine.status = 204
        await task
    assert counted(sandboxes)["weos_removal_failures_total"] >= 1
