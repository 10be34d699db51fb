"""Plans, lists and the API's own description."""

import json
from dataclasses import replace
from typing import Any

import pytest

from contracts.api.openai.chat_request import ChatCompletionRequest
from contracts.api.openai.completion_request import CompletionRequest
from contracts.api.openapi import OPERATIONS, build_openapi
from contracts.api.responses import BackendList, ModelList, PlanView, VersionView
from contracts.execution.run_request import RunRequest
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import sha256_digest
from tests.api.harness import TOKEN, Engine
from tests.fakes.installation import IMAGE, MODEL_SHA256, VERSION
from tests.fakes.run_requests import chat_request, completion_request, spec_request
from tests.places import REPOSITORY

BODIES = {RunRequest: spec_request(), ChatCompletionRequest: chat_request(), CompletionRequest: completion_request()}
COMMITTED = REPOSITORY / "contracts" / "openapi.json"


async def plan(engine: Engine, request: dict[str, Any] | None = None) -> PlanView:
    answer = await engine.client.post("/v1/plans", json=request or spec_request())
    assert answer.status == 200, await answer.text()
    return PlanView.parse(await answer.read())


async def test_planning_executes_and_records_nothing(engine: Engine) -> None:
    await plan(engine)
    assert engine.ledger.started == {}
    assert engine.sandboxes.opened == []
    assert engine.free_cpus == 2


async def test_planning_needs_no_container_engine(engine: Engine) -> None:
    engine.sandboxes.up = False
    await plan(engine)


async def test_the_plan_foretold_is_the_plan_executed(engine: Engine) -> None:
    planned = await plan(engine)
    view = await (await engine.post()).json()
    record = await engine.record(view["execution_id"])
    assert record.plan == planned.plan
    assert view["plan_digest"] == record.plan_digest == planned.plan_digest
    assert planned.plan_digest == sha256_digest(canonical_bytes(planned.plan.model_dump(mode="json")))


async def test_the_same_request_twice_has_one_plan_and_two_containers(engine: Engine) -> None:
    views = [await (await engine.post()).json() for _ in range(2)]
    assert views[0]["plan_digest"] == views[1]["plan_digest"]
    assert views[0]["output"] == views[1]["output"]
    assert views[0]["container_id"] != views[1]["container_id"]
    assert views[0]["execution_id"] != views[1]["execution_id"]


async def test_every_choice_of_the_request_is_in_the_plan(engine: Engine) -> None:
    first = await plan(engine)
    request = spec_request(nonce="auditor:2026-01-31.1")
    assert (await plan(engine, request)).plan.nonce == "auditor:2026-01-31.1"
    digests = {first.plan_digest, (await plan(engine, request)).plan_digest}
    for name, value in (("seed", 7), ("stop", ["x"]), ("context_tokens", 512), ("sampling", {"temperature": 0.5})):
        changed = spec_request()
        changed["execution"][name] = value
        digests.add((await plan(engine, changed)).plan_digest)
    assert len(digests) == 6


async def test_the_running_engine_version_may_be_demanded(engine: Engine) -> None:
    assert (await engine.post(spec_request(engine_version=VERSION))).status == 200


async def test_backends_are_listed_installed_or_not(engine: Engine) -> None:
    listed = BackendList.parse(await (await engine.client.get("/v1/backends")).read())
    told = {view.name: (view.installed, view.runnable, view.missing_cpu_features) for view in listed.backends}
    assert told == {
        "cpu_avx2": (True, True, ()),
        "cpu_avx512": (True, False, ("avx512f",)),
        "cpu_x86_64": (False, True, ()),
    }
    assert listed.backends[0].image == IMAGE


async def test_models_are_listed(engine: Engine) -> None:
    (model,) = ModelList.parse(await (await engine.client.get("/v1/models")).read()).models
    assert (model.name, model.quantization, model.sha256) == ("smollm2-135m-instruct", "q4_1", MODEL_SHA256)
    assert model.parent is None
    (installed,) = engine.installation.value.models
    engine.installation.value = replace(engine.installation.value, models=(replace(installed, parent=IMAGE),))
    (model,) = ModelList.parse(await (await engine.client.get("/v1/models")).read()).models
    assert model.parent == IMAGE


async def test_the_version_comes_with_its_key(engine: Engine) -> None:
    version = VersionView.parse(await (await engine.client.get("/v1/version")).read())
    assert version == engine.version
    assert set(version.policies) >= {"admission.toml", "sandbox.toml"}


async def test_the_document_served_is_the_one_committed(engine: Engine) -> None:
    answer = await engine.client.get("/openapi.json")
    assert answer.content_type == "application/json"
    assert await answer.json() == json.loads(COMMITTED.read_text(encoding="utf-8")) == build_openapi()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.operation_id)
async def test_every_operation_of_the_document_is_served(engine: Engine, operation: Any) -> None:
    execution_id = (await (await engine.post()).json())["execution_id"]
    path = operation.path.replace("{execution_id}", execution_id).replace("{model}", "smollm2-135m-instruct")
    required = [
        f"{parameter.name}={parameter.example or 1}"
        for parameter in operation.parameters
        if parameter.required and parameter.where == "query"
    ]
    path += "?" + "&".join(required) if required else ""
    body = None if operation.request is None else BODIES[operation.request]
    answer = await engine.client.request(operation.method, path, json=body)
    # An execution that has ended cannot be cancelled; every other operation succeeds.
    assert answer.status == (409 if operation.operation_id == "cancelRun" else 200)


async def test_every_route_is_an_operation_of_the_document(engine: Engine) -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in engine.client.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert served == {(operation.method, operation.path) for operation in OPERATIONS}


@pytest.mark.parametrize("path", ["/v1/version", "/v1/models", "/v1/runs", "/healthz", "/openapi.json"])
async def test_no_answer_holds_the_token(engine: Engine, path: str) -> None:
    assert TOKEN not in await (await engine.client.get(path)).text()
