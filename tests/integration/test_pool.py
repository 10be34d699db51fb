"""Real sandboxes made ahead: used once, on leased CPUs, in both tiers; frozen beside others' work; gone at the end."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import docker
import pytest

from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.record import verify_record
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.kernel.placement import find_placement
from supervisor.composition import Adapters
from supervisor.domain.sandbox.ports import Sandbox, SandboxPort
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, serving
from tests.integration.test_executions import LONG, until_gone

pytestmark = pytest.mark.docker

PATIENCE_S = 90


def short_request(tier: IsolationTier = "hardened") -> dict[str, Any]:
    request = spec_request()
    request["execution"] |= {"limits": {"max_tokens": 4}, "isolation": tier}
    return request


def names_of(client: docker.DockerClient, home: Home) -> dict[str, str]:
    """This supervisor's containers: id by name."""
    mine = {"label": f"weos.instance={home.instance_id()}"}
    return {each["Names"][0].lstrip("/"): each["Id"] for each in client.api.containers(filters=mine)}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.05)


class Watched:
    """The product's sandboxes, and which of them are ready."""

    def __init__(self) -> None:
        self.ready: set[str] = set()
        self.pids: dict[str, int] = {}

    def wrap(self, adapters: Adapters) -> Adapters:
        return replace(adapters, sandboxes=cast("SandboxPort", _WatchedSandboxes(adapters.sandboxes, self)))


class _WatchedSandboxes:
    def __init__(self, inner: SandboxPort, watched: Watched) -> None:
        self._inner = inner
        self._watched = watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @asynccontextmanager
    async def open(self, *arguments: Any, **named: Any) -> AsyncIterator[Sandbox]:
        async with self._inner.open(*arguments, **named) as sandbox:
            receive = sandbox.receive

            async def hear() -> tuple[bytes, int]:
                line, at_ns = await receive()
                if json.loads(line)["type"] == "ready":
                    self._watched.ready.add(sandbox.container_id)
                return line, at_ns

            sandbox.receive = hear  # type: ignore[method-assign] # between the sandbox and the engine
            yield sandbox
            self._watched.ready.discard(sandbox.container_id)


async def run_one(api: Api, request: dict[str, Any]) -> MetricsRecord:
    status, body = await api.post_run(request)
    assert status == 200, body
    report = verify_record(await api.get_bytes(body["record"]), api.trust)
    assert report.verdict == "VALID", report
    assert report.record is not None
    return report.record


@pytest.mark.parametrize("tier", get_args(IsolationTier))
async def test_a_sandbox_made_ahead_serves_one_execution_and_goes(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient, tier: IsolationTier
) -> None:
    watched = Watched()
    async with serving(own_home, docker_host, pool=True, wrap_adapters=watched.wrap) as api:
        cold = await run_one(api, short_request(tier))
        records = []
        for _ in range(2):
            await until(lambda: bool(watched.ready & set(names_of_tier(engine_client, own_home, tier))))
            # `ready` was heard; the look from outside, after which it is the pool's, comes at once.
            await asyncio.sleep(1)
            records.append(await run_one(api, short_request(tier)))
        assert cold.sandbox is not None
        for record in records:
            assert record.sandbox is not None
            assert record.sandbox.start == "warm"
            assert (record.sandbox.age_ms or 0) > 0
            assert record.sandbox.isolation is not None
            assert sorted(record.sandbox.isolation.cpus_allowed) == sorted(record.sandbox.cpus)
            assert record.metrics is not None
            assert "warm" in record.metrics.unmeasured["energy_load_j"]
            await until_gone(engine_client, record.sandbox.container_id)
        used = [record.sandbox.container_id for record in (cold, *records) if record.sandbox is not None]
        assert len(set(used)) == len(used)
        assert len({record.output for record in (cold, *records)}) == 1
    assert names_of(engine_client, own_home) == {}


def names_of_tier(client: docker.DockerClient, home: Home, tier: IsolationTier) -> list[str]:
    return [each for name, each in names_of(client, home).items() if name.startswith(f"weos-{tier}-")]


async def test_nothing_is_made_where_every_cpu_is_leased_and_what_is_half_made_stands_still(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    watched = Watched()
    async with serving(own_home, docker_host, pool=True, wrap_adapters=watched.wrap) as api:
        await until(lambda: bool(watched.ready))
        view = await api.started(LONG)
        await asyncio.sleep(1)
        beside = {each for each in names_of(engine_client, own_home).values() if each != view["container_id"]}
        cpu_time = {each: _cpu_time_ns(engine_client, each) for each in beside}
        await asyncio.sleep(2)
        # What is ready waits for a line, and what is not is frozen: neither computes.
        for container_id, before in cpu_time.items():
            assert _cpu_time_ns(engine_client, container_id) - before < 50_000_000
        async with api.session.delete(f"/v1/runs/{view['execution_id']}") as answer:
            assert (await answer.json())["status"] == "cancelled"


def _cpu_time_ns(client: docker.DockerClient, container_id: str) -> int:
    usage: int = client.api.stats(container_id, stream=False)["cpu_stats"]["cpu_usage"]["total_usage"]
    return usage


async def test_a_ready_sandbox_that_ends_is_replaced_and_hurts_nobody(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    watched = Watched()
    async with serving(own_home, docker_host, pool=True, wrap_adapters=watched.wrap) as api:
        await until(lambda: bool(watched.ready))
        (first,) = watched.ready
        os.kill(engine_client.api.inspect_container(first)["State"]["Pid"], signal.SIGKILL)
        await until_gone(engine_client, first)
        await until(lambda: bool(watched.ready - {first}))
        record = await run_one(api, short_request())
        assert record.outcome == "completed"


async def test_a_frozen_sandbox_of_a_killed_supervisor_is_removed_by_the_next(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient, tmp_path: Path
) -> None:
    del tmp_path
    async with serving(own_home, docker_host) as api:
        image = (await api.get("/v1/backends"))["backends"][0]["image"]
    client = engine_client.api
    # As a supervisor leaves it that is killed while it holds a sandbox back.
    left = client.create_container(
        image,
        entrypoint=["/usr/bin/python3.11", "-c", "import time; time.sleep(600)"],
        labels={"weos.instance": own_home.instance_id()},
    )["Id"]
    client.start(left)
    placement = find_placement(client.inspect_container(left)["State"]["Pid"])
    assert placement is not None
    placement.freeze()
    async with serving(own_home, docker_host):
        await until_gone(engine_client, left)


async def test_one_that_would_spin_uses_no_cpu_while_it_waits(
    own_home: Home, docker_host: str, engine_client: docker.DockerClient
) -> None:
    watched = Watched()
    request = short_request()
    request["execution"]["scheduler_policy"] = "exclusive"
    async with serving(own_home, docker_host, pool=True, wrap_adapters=watched.wrap) as api:
        await until(lambda: bool(watched.ready))
        declared = set(watched.ready)
        await run_one(api, request)
        await until(lambda: len(watched.ready - declared) > 0)
        await asyncio.sleep(1)
        waiting = list(watched.ready)
        before = {each: _cpu_time_ns(engine_client, each) for each in waiting}
        await asyncio.sleep(2)
        assert all(_cpu_time_ns(engine_client, each) - before[each] < 50_000_000 for each in waiting)
        record = await run_one(api, request)
        assert record.sandbox is not None
        assert record.sandbox.start == "warm"
