"""Models that the real llama.cpp cannot run: each cause has its code, the same in both tiers."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest

from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.record import verify_record
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_store import ModelStore
from tests.fakes.run_requests import spec_request
from tests.integration.broken_models import (
    BROKEN,
    LONG_WORD,
    QUANTIZATION,
    SOUND,
    WITHOUT_TEMPLATE,
    BrokenModel,
    install,
)
from tests.integration.conftest import Api, serving
from tests.integration.test_executions import LONG

pytestmark = pytest.mark.docker

both_tiers = pytest.mark.parametrize("tier", get_args(IsolationTier))


@pytest.fixture
async def broken(own_home: Home, docker_host: str) -> AsyncIterator[Api]:
    """A supervisor whose store holds the broken models."""
    install(own_home, BROKEN | WITHOUT_TEMPLATE | LONG_WORD)
    async with serving(own_home, docker_host) as api:
        yield api


def request_of(name: str, model: BrokenModel, tier: str) -> dict[str, Any]:
    request = spec_request(model=name, prompt=model.prompt)
    request["execution"] |= {
        "quantization": QUANTIZATION,
        "context_tokens": model.context_tokens,
        "limits": {"max_tokens": 2},
        "isolation": tier,
    }
    return request


async def recorded(api: Api, body: dict[str, Any]) -> MetricsRecord:
    """The execution's record, which must be genuine in every case."""
    path = body["record"] if "record" in body else f"/v1/runs/{body['execution_id']}/record"
    report = verify_record(await api.get_bytes(path), api.trust)
    assert report.verdict == "VALID"
    assert report.record is not None
    return report.record


@both_tiers
async def test_each_cause_has_its_code(broken: Api, tier: IsolationTier) -> None:
    for name, model in BROKEN.items():
        _, problem = await broken.post_run(request_of(name, model, tier))
        assert (name, problem["code"]) == (name, model.code), problem["detail"]
        record = await recorded(broken, problem)
        assert record.reason is not None
        assert (record.outcome, record.reason.code) == ("failed", model.code)
        assert model.says in record.reason.message, record.reason
        # Where memory runs out, the kernel knows nothing of models.
        assert f"'{name}'" in record.reason.message or model.code == "memory_limit_exceeded"
        if record.output is not None:
            assert not any(word in record.reason.message for word in ("ASSERT(", "terminate", "what()", "secret"))


@both_tiers
async def test_a_sound_model_of_the_same_making_runs(broken: Api, tier: IsolationTier) -> None:
    status, body = await broken.post_run(request_of("sound", SOUND, tier))
    assert status == 200, body
    assert (await recorded(broken, body)).outcome == "completed"


@both_tiers
async def test_a_model_without_a_template_of_its_own_is_run_without_one(broken: Api, tier: IsolationTier) -> None:
    for name, model in WITHOUT_TEMPLATE.items():
        status, body = await broken.post_run(request_of(name, model, tier))
        assert status == 200, (name, body)
        assert (await recorded(broken, body)).outcome == "completed"


@both_tiers
async def test_a_word_as_long_as_a_prompt_is_cut_into_tokens(broken: Api, tier: IsolationTier) -> None:
    for name, model in LONG_WORD.items():
        status, problem = await broken.post_run(request_of(name, model, tier))
        assert (status, problem["code"]) == (422, model.code), problem
        assert "The prompt alone has 131" in problem["detail"]


def write_in_place(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(last)


def cut_short(file: Path) -> None:
    os.truncate(file, 4096)


@pytest.fixture
def weights(own_home: Home) -> Path:
    """The file of the installed model, copied into a store of the home's own."""
    installed = own_home.models.resolve()
    own_home.models.unlink()
    shutil.copytree(installed, own_home.models)
    (file,) = own_home.models.glob("*/model.gguf")
    request = spec_request()
    ModelStore(own_home.models).verify(request["model"], request["execution"]["quantization"], lambda _: None)
    return file


@both_tiers
@pytest.mark.parametrize("change", [write_in_place, cut_short])
async def test_a_model_that_changes_while_it_runs_fails_the_execution(
    own_home: Home, docker_host: str, weights: Path, tier: IsolationTier, change: Any
) -> None:
    async with serving(own_home, docker_host) as api:
        execution = LONG["execution"] | {"isolation": tier, "limits": {"max_tokens": 200}}
        view = await api.started(LONG | {"execution": execution})
        change(weights)
        final = await api.until(view["execution_id"], "failed", "completed")
        assert final["reason"] is not None
        assert final["reason"]["code"] == "model_changed", final["reason"]
        assert (await recorded(api, final)).outcome == "failed"
