"""A supervisor that kills itself where a request has come to a named point; the entry point of tests alone.

    python -m tests.integration.dying DOCKER_HOST FUSE_FILE

While the fuse file holds a point's name, reaching the point is the end: signal 9, so that nothing is cleaned up.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import docker

from contracts.execution.metrics_record import PREDICATE_TYPE
from supervisor.adapters.home import Home, default_home
from supervisor.composition import Adapters, serve
from supervisor.domain.records.ports import FinalEntry, LedgerPort, StartedEntry
from supervisor.domain.sandbox.ports import Sandbox, SandboxPort
from tests.integration.conftest import policies_without_pool

if TYPE_CHECKING:
    from contracts.wire.envelope import Signer

__all__ = ["POINTS"]

# In the order in which a request passes them.
POINTS = (
    "accepted",
    "stored",
    "container created",
    "container started",
    "ready",
    "locks judged",
    "job sent",
    "first token",
    "answer complete",
    "container removed",
    "record built",
    "record stored",
)


class Fuse:
    """Ends this process at the point that the file names."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def reach(self, point: str) -> None:
        """Die here, if here it is."""
        if self._file.exists() and self._file.read_text() == point:
            os.kill(os.getpid(), signal.SIGKILL)


class _Through:
    """Everything of another object that is not defined here."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class DyingLedger(_Through):
    """A ledger's two writes, with a point before and after."""

    async def append_started(self, entry: StartedEntry) -> int:
        self._fuse.reach("accepted")
        seq = await self._inner.append_started(entry)
        self._fuse.reach("stored")
        return cast("int", seq)

    async def append_final(self, entry: FinalEntry) -> None:
        await self._inner.append_final(entry)
        self._fuse.reach("record stored")


class DyingSigner(_Through):
    """A signer that is asked when the record has been built; before that, for the statement of acceptance."""

    def sign(self, data: bytes) -> bytes:
        if PREDICATE_TYPE.encode() in data:
            self._fuse.reach("record built")
        return cast("bytes", self._inner.sign(data))


class DyingSandbox(_Through):
    """The conversation with one runner."""

    async def send(self, line: bytes) -> None:
        is_job = json.loads(line)["type"] == "job"
        if is_job:
            self._fuse.reach("locks judged")
        await self._inner.send(line)
        if is_job:
            self._fuse.reach("job sent")

    async def receive(self) -> tuple[bytes, int]:
        line, at_ns = await self._inner.receive()
        self._hear(line)
        return line, at_ns

    async def listen(self, take: Callable[[bytes, int], bool]) -> None:
        def hear(line: bytes, at_ns: int) -> bool:
            self._hear(line)
            return take(line, at_ns)

        await self._inner.listen(hear)

    def _hear(self, line: bytes) -> None:
        points = {"ready": "ready", "token": "first token", "done": "answer complete"}
        self._fuse.reach(points.get(json.loads(line)["type"], ""))


class DyingSandboxes(_Through):
    """Whatever makes containers."""

    @asynccontextmanager
    async def open(self, name: str, config: dict[str, Any], *, model: str, output_bytes: int) -> AsyncIterator[Sandbox]:
        async with self._inner.open(name, config, model=model, output_bytes=output_bytes) as sandbox:
            yield cast("Sandbox", DyingSandbox(sandbox, self._fuse))


def _engine_client(fuse: Fuse) -> type[docker.APIClient]:
    class DyingClient(docker.APIClient):
        """The SDK's client, with points around what it does to a container."""

        def start(self, *arguments: Any, **named: Any) -> None:
            fuse.reach("container created")
            super().start(*arguments, **named)
            fuse.reach("container started")

        def remove_container(self, *arguments: Any, **named: Any) -> None:
            super().remove_container(*arguments, **named)
            fuse.reach("container removed")

    return DyingClient


async def _serve(home: Home, docker_host: str, fuse: Fuse) -> None:
    def wrap(adapters: Adapters) -> Adapters:
        return replace(
            adapters,
            ledger=cast("LedgerPort", DyingLedger(adapters.ledger, fuse)),
            signer=cast("Signer", DyingSigner(adapters.signer, fuse)),
            sandboxes=cast("SandboxPort", DyingSandboxes(adapters.sandboxes, fuse)),
        )

    async with serve(
        home, docker_host, port=0, wrap_adapters=wrap, policy_directory=policies_without_pool(home.root.parent)
    ):
        await asyncio.Event().wait()


def main() -> None:
    """Serve until something kills this process."""
    docker_host, fuse_file = sys.argv[1:]
    fuse = Fuse(Path(fuse_file))
    docker.APIClient = _engine_client(fuse)  # type: ignore[misc] # a class in the place of a class
    asyncio.run(_serve(Home(default_home()), docker_host, fuse))


if __name__ == "__main__":
    main()
