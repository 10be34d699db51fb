"""A real supervisor on a home of its own, with the installed images and models, real containers and real HTTP."""

import asyncio
import contextlib
import gc
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import docker
import pytest

from contracts.verify.trust import Trust
from supervisor.adapters.home import Home
from supervisor.composition import Listening, serve
from tests.fakes.run_requests import spec_request
from tests.places import REPOSITORY

DOCKER_SOCKET = "unix://"
WAIT_S = 60


class Relay:
    """A socket in front of the container engine's own, so that a test can take the engine away and give it back."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path = path
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    async def up(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))

    async def down(self) -> None:
        assert self._server is not None
        self._server.close()
        self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there_reader, there_writer = await asyncio.open_unix_connection(str(self._target))
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        except asyncio.CancelledError:
            pass
        finally:
            for each in (writer, there_writer):
                self._writers.discard(each)
                each.close()
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


class Api:
    """An authorized client of one supervisor."""

    def __init__(self, home: Home, listening: Listening, session: aiohttp.ClientSession) -> None:
        self.home = home
        self.listening = listening
        self.session = session

    @property
    def trust(self) -> Trust:
        return Trust.parse(self.home.trust_file.read_bytes())

    async def post_run(self, request: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        async with self.session.post("/v1/runs", json=request, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, path: str) -> Any:
        async with self.session.get(path) as answer:
            return json.loads(await answer.read())

    async def get_bytes(self, path: str) -> bytes:
        async with self.session.get(path) as answer:
            return await answer.read()

    async def least_watts(self) -> float:
        """The limit under which an execution gets one core, so that several run at once."""
        request = spec_request()
        request["execution"]["limits"]["max_watts"] = 0.1
        async with self.session.post("/v1/plans", json=request) as answer:
            refusal = await answer.json(content_type=None)
        return float(refusal["detail"].split()[-2])

    async def until(self, execution_id: str, *statuses: str) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            while True:
                view: dict[str, Any] = await self.get(f"/v1/runs/{execution_id}")
                if view.get("status") in statuses:
                    return view
                await asyncio.sleep(0.05)

    async def started(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin an execution and return once its first text is there."""
        status, body = await self.post_run(request, Prefer="respond-async")
        assert status == 202, body
        async with asyncio.timeout(WAIT_S):
            while True:
                view: dict[str, Any] = await self.get(f"/v1/runs/{body['execution_id']}")
                if view["output"]:
                    return view
                assert view["status"] in {"queued", "running"}, view["reason"]
                await asyncio.sleep(0.05)


def policies_without_pool(directory: Path) -> Path:
    """The policies in force, but that nothing is made ahead: every sandbox there is belongs to an execution."""
    copied = directory / "policies"
    if not copied.exists():
        shutil.copytree(REPOSITORY / "policies", copied)
        pool = copied / "pool.toml"
        pool.write_text(pool.read_text().replace("size_max = 8", "size_max = 0"))
    return copied


def make_home(root: Path, installed: Path) -> Home:
    """A new home that shares the installed images and models."""
    root.mkdir(mode=0o700)
    for name in ("images", "models"):
        (root / name).symlink_to(installed / name)
    return Home(root)


@pytest.fixture
def engine_client(docker_host: str) -> docker.DockerClient:
    return docker.DockerClient(base_url=docker_host)


@pytest.fixture
def own_home(tmp_path: Path, weos_home: Path, docker_host: str) -> Iterator[Home]:
    """A home of the test's own; what a supervisor of it that was killed has made ahead goes with it."""
    home = make_home(tmp_path / "home", weos_home)
    yield home
    if not (home.root / "instance").exists():
        return
    client = docker.APIClient(base_url=docker_host)
    for left in client.containers(all=True, filters={"label": f"weos.instance={home.instance_id()}"}):
        with contextlib.suppress(docker.errors.NotFound):
            client.remove_container(left["Id"], force=True, v=True)
    client.close()


@contextlib.asynccontextmanager
async def serving(home: Home, docker_host: str, *, pool: bool = False, **options: Any) -> AsyncIterator[Api]:
    """A supervisor whose containers are all of executions, unless a test is about the pool."""
    if not pool:
        options["policy_directory"] = policies_without_pool(home.root.parent)
    async with serve(home, docker_host, port=0, **options) as listening:
        headers = {"Authorization": f"Bearer {home.token()}"}
        async with aiohttp.ClientSession(listening.url, headers=headers) as session:
            yield Api(home, listening, session)


@pytest.fixture
async def api(own_home: Home, docker_host: str) -> AsyncIterator[Api]:
    async with serving(own_home, docker_host) as served:
        yield served


@pytest.fixture
async def relay(tmp_path: Path, docker_host: str) -> AsyncIterator[Relay]:
    relay = Relay(tmp_path / "engine.sock", Path(docker_host.removeprefix(DOCKER_SOCKET)))
    await relay.up()
    yield relay
    await relay.down()
    # Here, where the test that caused it is still the current one.
    gc.collect()
