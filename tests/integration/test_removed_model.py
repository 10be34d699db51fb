"""A model that is removed while an execution uses it."""

import asyncio
from pathlib import Path

import pytest

from contracts.verify.record import verify_record
from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_store import ModelStore
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import WAIT_S, serving

pytestmark = pytest.mark.docker


def put_own_copy(home: Home) -> ModelStore:
    """Give a home a store of its own, with a copy of the installed model."""
    installed = ModelStore(home.models.resolve())
    request = spec_request()
    wanted = (request["model"], request["execution"]["quantization"])
    model = next(each for each in installed.list() if (each.name, each.quantization) == wanted)
    home.models.unlink()
    store = ModelStore(home.models)
    store.add(model.name, installed.path_of(model), progress=lambda _: None)
    return store


def files(home: Home) -> list[Path]:
    return list(home.models.glob("*/model.gguf"))


async def test_an_execution_completes_although_its_model_is_removed(own_home: Home, docker_host: str) -> None:
    store = put_own_copy(own_home)
    request = spec_request()
    request["execution"]["limits"]["max_tokens"] = 512
    async with serving(own_home, docker_host) as api:
        view = await api.started(request)
        assert store.remove(request["model"], request["execution"]["quantization"]) == "in_use"
        status, problem = await api.post_run(request)
        assert (status, problem["code"]) == (422, "unknown_model")
        assert len(files(own_home)) == 1
        ended = await api.until(view["execution_id"], "completed", "failed")
        assert ended["status"] == "completed", ended["reason"]
        record = await api.get_bytes(f"/v1/runs/{view['execution_id']}/record")
        assert verify_record(record, api.trust).verdict == "VALID"
        for _ in range(WAIT_S * 10):
            if not files(own_home):
                break
            await asyncio.sleep(0.1)
        assert files(own_home) == []
