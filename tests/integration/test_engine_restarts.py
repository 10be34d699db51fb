"""The container engine is stopped or killed under living executions, and comes back."""

import asyncio
import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.verify.record import verify_record
from supervisor.adapters.home import Home
from supervisor.adapters.installation.image_record import record_path
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, serving
from tests.integration.private_engine import PrivateEngine, private_engine
from tests.integration.test_executions import LONG

pytestmark = [
    pytest.mark.docker,
    # The SDK leaves a socket that could not connect to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WAIT_S = 120
POLL_S = 0.1


@pytest.fixture(scope="module")
def engine(weos_home: Path, docker_host: str) -> Iterator[PrivateEngine]:
    with private_engine() as engine:
        engine.copy_image(docker_host, json.loads(record_path(weos_home, "cpu_avx2").read_text())["image_id"])
        yield engine


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    # Here, where the test that left them is still the current one.
    gc.collect()


async def ended(api: Api, execution_id: str) -> dict[str, Any]:
    view = await api.until(execution_id, "completed", "failed")
    report = verify_record(await api.get_bytes(view["record"]), api.trust)
    assert report.verdict == "VALID"
    return view


async def until_up(api: Api) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await api.get("/healthz"))["engine"] != "up":  # noqa: ASYNC110 - it is asked over HTTP
            await asyncio.sleep(POLL_S)


async def until_nothing_is_left(engine: PrivateEngine) -> None:
    async with asyncio.timeout(WAIT_S):
        while await asyncio.to_thread(engine.left):  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(POLL_S)


@pytest.mark.parametrize("leave", [PrivateEngine.stop, PrivateEngine.kill], ids=["stopped", "killed"])
async def test_an_engine_that_goes_and_comes_back_costs_no_record_and_leaves_no_container(
    own_home: Home, engine: PrivateEngine, leave: Callable[[PrivateEngine], None]
) -> None:
    async with serving(own_home, engine.url) as api:
        running = await api.started(LONG)
        _, waiting = await api.post_run(LONG, Prefer="respond-async")
        await asyncio.to_thread(leave, engine)
        views = [await ended(api, each["execution_id"]) for each in (running, waiting)]
        assert [view["status"] for view in views] == ["failed"] * 2
        assert {view["reason"]["code"] for view in views} <= {"engine_unavailable", "runner_failed"}
        assert views[0]["output"].startswith(running["output"])
        await asyncio.to_thread(engine.start)
        await until_up(api)
        assert (await api.post_run(spec_request()))[0] == 200
        assert len((await api.get("/v1/runs"))["runs"]) == 3
        await until_nothing_is_left(engine)


async def test_an_engine_that_is_killed_while_it_makes_sandboxes_leaves_none(
    own_home: Home, engine: PrivateEngine
) -> None:
    async with serving(own_home, engine.url, reap_every_s=1) as api:
        accepted = [(await api.post_run(spec_request(), Prefer="respond-async"))[1] for _ in range(4)]
        await api.until(accepted[1]["execution_id"], "running", "completed", "failed")
        await asyncio.to_thread(engine.kill)
        for each in accepted:
            await ended(api, each["execution_id"])
        await asyncio.to_thread(engine.start)
        await until_up(api)
        await until_nothing_is_left(engine)
        assert (await api.post_run(spec_request()))[0] == 200
