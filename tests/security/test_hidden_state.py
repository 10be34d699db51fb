"""No hidden state between executions: nothing that one leaves is found by another, and no output depends on another."""

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import docker
import pytest

from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.installation.image_record import record_path
from supervisor.composition import Adapters
from supervisor.domain.sandbox.ports import Sandbox, SandboxPort
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, serving
from tests.security.hostile.channels import CHANNELS
from tests.security.hostile.image import hostile_images
from tests.security.hostile.table import Misbehaviour

pytestmark = pytest.mark.docker

CALL_TIMEOUT_S = 120
NAMES = [channel.name for channel in CHANNELS]
LOCKED_AND_READY = "lock_down(load_program()); say(READY); os.read(0, 1 << 20)\n"
# By the context size that plays the row.
PLANTS, LOOKS = 600, 601
ROWS = {
    PLANTS: Misbehaviour(
        "plants and stays",
        "lock",
        "sys.path.insert(0, '/opt/weos'); import channels\n"
        f"planted = json.dumps(channels.plant())\n{LOCKED_AND_READY}"
        "say(PROMPT, token(0, text=planted)); hang()",
        None,
    ),
    LOOKS: Misbehaviour(
        "looks",
        "lock",
        "sys.path.insert(0, '/opt/weos'); import channels\n"
        f"found = json.dumps(channels.find())\n{LOCKED_AND_READY}"
        "say(PROMPT, token(0, text=found), token(1, text=''), DONE)",
        None,
    ),
}
# A container that keeps nothing apart.
UNPROTECTED: dict[str, Any] = {
    "CapAdd": ["SYS_ADMIN"],
    "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "NetworkMode": "none",
    "IpcMode": "private",
    "CgroupnsMode": "private",
}
PROMPTS = 10
ROUNDS = 5


@pytest.fixture(scope="module")
def client(docker_host: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=docker_host, timeout=CALL_TIMEOUT_S)
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(weos_home: Path, client: docker.APIClient) -> Iterator[str]:
    installed = json.loads(record_path(weos_home, "cpu_avx2").read_text())["image_id"]
    with hostile_images(client, installed, ROWS) as images:
        yield images[""]


@pytest.fixture
def hostile_home(own_home: Home, weos_home: Path, image: str) -> Home:
    (own_home.root / "images").unlink()
    shutil.copytree(weos_home / "images", own_home.root / "images")
    record = record_path(own_home.root, "cpu_avx2")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"image_id": image}))
    return own_home


def found_without_protection(client: docker.APIClient, image: str, model_directory: Path) -> list[str]:
    """Plant and look in two processes of one container that nothing keeps apart."""
    host = UNPROTECTED | {"Binds": [f"{model_directory}:/model"]}
    script = ["/usr/bin/python3.11", "-I", "-S", "-B", "/opt/weos/channels.py"]
    body = {"Image": image, "User": "0:0", "Entrypoint": script, "HostConfig": host, "Labels": {"weos.test": "control"}}
    container_id = client.create_container_from_config(body)["Id"]  # type: ignore[no-untyped-call] # stubs lack it
    try:
        client.start(container_id)
        assert client.wait(container_id)["StatusCode"] == 0, client.logs(container_id)
        found: list[str] = json.loads(client.logs(container_id, stderr=False))
        return found
    finally:
        client.remove_container(container_id, force=True, v=True)


def test_every_probe_finds_its_plant_where_nothing_keeps_processes_apart(
    client: docker.APIClient, image: str, tmp_path: Path
) -> None:
    model = tmp_path / "model" / "model.gguf"
    model.parent.mkdir()
    model.write_bytes(bytes(8192))
    assert found_without_protection(client, image, model.parent) == NAMES


def request_of(context_tokens: int, max_watts: float, tier: IsolationTier) -> dict[str, Any]:
    request = spec_request()
    limits = {"max_tokens": 8, "max_watts": max_watts}
    request["execution"] |= {"context_tokens": context_tokens, "limits": limits, "isolation": tier}
    return request


@pytest.mark.parametrize("tier", get_args(IsolationTier))
async def test_what_one_execution_plants_no_other_finds(
    hostile_home: Home, docker_host: str, tier: IsolationTier
) -> None:
    async with serving(hostile_home, docker_host) as api:
        watts = await api.least_watts()
        planting = await api.started(request_of(PLANTS, watts, tier))
        looking = request_of(LOOKS, watts, tier)
        beside = await api.post_run(looking)
        assert json.loads((await api.get(f"/v1/runs/{planting['execution_id']}"))["output"]).keys() == set(NAMES)
        async with api.session.delete(f"/v1/runs/{planting['execution_id']}") as answer:
            assert (await answer.json())["status"] == "cancelled"
        after = await api.post_run(looking)
        assert [(status, json.loads(body["output"])) for status, body in (beside, after)] == [(200, [])] * 2


class Overheard:
    """Every event of every runner, by container."""

    def __init__(self) -> None:
        self.tokens: dict[str, list[int]] = {}

    def wrap(self, adapters: Adapters) -> Adapters:
        return replace(adapters, sandboxes=cast("SandboxPort", _OverheardSandboxes(adapters.sandboxes, self.tokens)))


class _OverheardSandboxes:
    def __init__(self, inner: SandboxPort, tokens: dict[str, list[int]]) -> None:
        self._inner = inner
        self._tokens = tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @asynccontextmanager
    async def open(self, *arguments: Any, **named: Any) -> AsyncIterator[Sandbox]:
        async with self._inner.open(*arguments, **named) as sandbox:
            listen, tokens = sandbox.listen, self._tokens.setdefault(sandbox.container_id, [])

            async def overhear(take: Callable[[bytes, int], bool]) -> None:
                def hear(line: bytes, at_ns: int) -> bool:
                    event = json.loads(line)
                    if event["type"] == "token":
                        tokens.append(event["token_id"])
                    return take(line, at_ns)

                await listen(hear)

            sandbox.listen = overhear  # type: ignore[method-assign] # between the sandbox and the engine
            yield sandbox


def prompt_request(number: int, max_watts: float) -> dict[str, Any]:
    """One of several requests, greedy and drawn, short and long, with and without a stop."""
    request = spec_request(prompt=f"Item {number}: " + "water and stone " * (number * 7) + "because")
    request["execution"] |= {"limits": {"max_tokens": 6 + number, "max_watts": max_watts}, "seed": number}
    if number % 2:
        request["execution"]["sampling"] = {"temperature": 1.2, "top_k": 50}
    if number % 3 == 0:
        request["execution"]["stop"] = ["the"]
    return request


async def test_an_output_is_the_same_whatever_ran_before_and_beside_it(own_home: Home, docker_host: str) -> None:
    overheard = Overheard()
    async with serving(own_home, docker_host, wrap_adapters=overheard.wrap) as api:
        watts = await api.least_watts()
        order = list(range(PROMPTS)) * ROUNDS
        random.Random(3).shuffle(order)  # noqa: S311 - an order, no secret
        bodies = await asyncio.gather(*_run_all(api, order, watts))
    seen: dict[int, set[tuple[str, str, tuple[int, ...]]]] = {number: set() for number in range(PROMPTS)}
    for number, body in zip(order, bodies, strict=True):
        tokens = tuple(overheard.tokens[body["container_id"]])
        assert len(tokens) == body["metrics"]["tokens_total"] > 0
        seen[number].add((body["plan_digest"], body["output"], tokens))
    assert [len(each) for each in seen.values()] == [1] * PROMPTS
    assert len({outcome for each in seen.values() for outcome in each}) == PROMPTS


def _run_all(api: Api, order: list[int], max_watts: float) -> Iterator[Any]:
    room = asyncio.Semaphore(8)

    async def run(number: int) -> dict[str, Any]:
        async with room:
            status, body = await api.post_run(prompt_request(number, max_watts))
        assert status == 200, body
        return body

    return (run(number) for number in order)
