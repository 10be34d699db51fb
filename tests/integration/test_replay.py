"""`weos-engine audit replay` against a real engine: the same execution again, and one that somebody lied about."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.execution.execution_plan import PlannedArtifact
from contracts.execution.metrics_record import MetricsRecord, Statement
from contracts.verify.replay import ReplayInput
from contracts.wire.document import sha256_digest
from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from supervisor.commands.replay import replay
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, serving
from tests.integration.test_command_line import call

pytestmark = pytest.mark.docker


@pytest.fixture
async def served(own_home: Home, docker_host: str) -> AsyncIterator[Api]:
    async with serving(own_home, docker_host) as api:
        yield api


async def execute(api: Api, tmp_path: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Path]]:
    """Execute once; return the execution and the files that an auditor was given."""
    request = spec_request()
    request["execution"] |= changes
    status, view = await api.post_run(request)
    assert status == 200, view
    files = {name: tmp_path / name for name in ("bundle.json", "prompt.txt", "output.txt", "trust.json")}
    files["bundle.json"].write_bytes(await api.get_bytes(f"/v1/runs/{view['execution_id']}/bundle"))
    files["prompt.txt"].write_text(request["prompt"])
    files["output.txt"].write_text(view["output"])
    files["trust.json"].write_bytes(api.home.trust_file.read_bytes())
    return view, files


async def replayed(api: Api, files: dict[str, Path]) -> tuple[int, dict[str, Any]]:
    ended = await call(
        api,
        *("audit", "replay", str(files["bundle.json"]), "--prompt", str(files["prompt.txt"])),
        *("--output", str(files["output.txt"]), "--trust", str(files["trust.json"]), "--json"),
    )
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def record_of(files: dict[str, Path]) -> MetricsRecord:
    envelope = json.loads(files["bundle.json"].read_bytes())["record"]
    return Statement.parse(base64.b64decode(envelope["payload"])).predicate


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "top_k": 40}], ids=["greedy", "seeded"])
async def test_an_execution_is_reproduced(served: Api, tmp_path: Path, sampling: dict[str, Any]) -> None:
    _, files = await execute(served, tmp_path, sampling=sampling, seed=7)
    status, verdict = await replayed(served, files)
    assert (status, verdict["verdict"]) == (0, "REPRODUCED"), verdict
    determinism = record_of(files).determinism
    assert determinism is not None
    assert determinism.sampling == ("seeded" if sampling else "greedy")
    assert "AVX2" in determinism.cpu_features


async def test_with_another_prompt_nothing_is_repeated(served: Api, tmp_path: Path) -> None:
    _, files = await execute(served, tmp_path)
    files["prompt.txt"].write_text("another")
    runs = len((await served.get("/v1/runs"))["runs"])
    status, verdict = await replayed(served, files)
    assert (status, verdict["verdict"]) == (1, "NOT_REPLAYABLE")
    assert "prompt" in verdict["message"]
    assert len((await served.get("/v1/runs"))["runs"]) == runs


async def test_a_record_of_another_output_is_found_at_its_token(served: Api, tmp_path: Path) -> None:
    view, files = await execute(served, tmp_path)
    said = view["output"][:6] + "~" + view["output"][7:]
    told = PlannedArtifact(sha256=sha256_digest(said.encode()), size_bytes=len(said.encode()))
    lie = record_of(files).model_copy(update={"output": told})
    prompt = files["prompt.txt"].read_bytes()
    verdict = await asyncio.to_thread(replay, EngineClient(served.home), lie, ReplayInput(prompt), said)
    assert verdict.code == "DIVERGED"
    assert verdict.token is not None
    assert 0 < verdict.token < view["metrics"]["tokens_total"]


async def test_an_installation_with_other_artifacts_says_which(served: Api, tmp_path: Path) -> None:
    _, files = await execute(served, tmp_path)
    record = record_of(files)
    other = record.model_copy(update={"plan": record.plan.model_copy(update={"runtime_image": "sha256:" + "0" * 64})})
    prompt = files["prompt.txt"].read_bytes()
    verdict = await asyncio.to_thread(replay, EngineClient(served.home), other, ReplayInput(prompt), None)
    assert verdict.code == "NOT_REPLAYABLE"
    assert "runtime_image" in verdict.message


async def test_a_model_that_is_not_there_is_named(served: Api, tmp_path: Path) -> None:
    _, files = await execute(served, tmp_path)
    record = record_of(files)
    model = record.plan.model.model_copy(update={"name": "absent"})
    other = record.model_copy(update={"plan": record.plan.model_copy(update={"model": model})})
    verdict = await asyncio.to_thread(
        replay, EngineClient(served.home), other, ReplayInput(files["prompt.txt"].read_bytes()), None
    )
    assert verdict.code == "NOT_REPLAYABLE"
    assert "absent" in verdict.message


async def test_a_bundle_that_is_not_valid_is_not_repeated(served: Api, tmp_path: Path) -> None:
    _, files = await execute(served, tmp_path)
    trust = json.loads(files["trust.json"].read_bytes())
    files["trust.json"].write_text(json.dumps(trust | {"keys": []}))
    ended = await call(
        served,
        *("audit", "replay", str(files["bundle.json"]), "--prompt", str(files["prompt.txt"])),
        *("--trust", str(files["trust.json"])),
    )
    assert ended.returncode == 1
    assert "BAD_SIGNATURE" in ended.stderr


async def test_without_an_engine_it_says_what_to_start(served: Api, tmp_path: Path) -> None:
    _, files = await execute(served, tmp_path)
    nowhere = Home(tmp_path / "nowhere")
    with pytest.raises(Exception, match="make serve"):
        replay(EngineClient(nowhere), record_of(files), ReplayInput(files["prompt.txt"].read_bytes()), None)
