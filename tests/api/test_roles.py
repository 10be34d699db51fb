"""Every route times every role, and whose executions a caller may see."""

from typing import Any, get_args

import pytest
from aiohttp import ClientResponse

from contracts.api.openai.chat_request import ChatCompletionRequest
from contracts.api.openai.completion_request import CompletionRequest
from contracts.api.openapi import OPERATIONS, build_openapi
from contracts.api.operation import Operation
from contracts.execution.run_request import RunRequest
from contracts.wire.types import Permission, RoleName
from tests.api.harness import EXPERIMENTER_TOKEN, SECOND_EXPERIMENTER_TOKEN, TOKEN, Engine, problem_of
from tests.fakes.run_requests import chat_request, completion_request, spec_request
from tests.fakes.runner_scripts import HeldRunner

# What each role gets from each operation. `yes`: an answer. `no`: 403 with the permission of the first column. `own`:
# an answer about the caller's own executions, and 404 about another's, as if there were none. `all`: both. Permission
# `-`: none, not even a token.
TABLE = """
operation             permission   operator  observer  experimenter  optimizer
createRun             run          yes       no        yes           yes
listRuns              read_own     all       no        own           own
getRun                read_own     all       no        own           own
cancelRun             cancel_own   all       no        own           own
getRecord             read_own     all       no        own           own
getBundle             read_own     all       no        own           own
createPlan            plan         yes       yes       yes           yes
listBackends          plan         yes       yes       yes           yes
listModels            plan         yes       yes       yes           yes
getVersion            plan         yes       yes       yes           yes
getChallenge          -            yes       yes       yes           yes
getHealth             plan         yes       yes       yes           yes
getReadiness          plan         yes       yes       yes           yes
getOpenApi            plan         yes       yes       yes           yes
listTokens            admin        yes       no        no            no
getMetrics            metrics      yes       yes       no            yes
getCheckpoint         ledger       yes       yes       no            yes
getProof              ledger       yes       yes       no            yes
getConsistency        ledger       yes       yes       no            yes
getRange              ledger       yes       yes       no            yes
listEntries           ledger       yes       yes       no            yes
createChatCompletion  run          yes       no        yes           yes
createCompletion      run          yes       no        yes           yes
listOpenAiModels      plan         yes       yes       yes           yes
getOpenAiModel        plan         yes       yes       yes           yes
"""
HEAD, *LINES = (line.split() for line in TABLE.strip().splitlines())
ROWS = {line[0]: dict(zip(HEAD, line, strict=True)) for line in LINES}
BODIES = {RunRequest: spec_request(), ChatCompletionRequest: chat_request(), CompletionRequest: completion_request()}
CASES = [(operation, role) for operation in OPERATIONS for role in get_args(RoleName)]
VALUES = {"nonce": "n" * 43}
MINE, OTHERS = EXPERIMENTER_TOKEN, SECOND_EXPERIMENTER_TOKEN


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def ask(engine: Engine, operation: Operation, token: str, execution_id: str = "") -> ClientResponse:
    path = operation.path.replace("{execution_id}", execution_id).replace("{model}", "smollm2-135m-instruct")
    required = [each for each in operation.parameters if each.required and each.where == "query"]
    path += "?" + "&".join(f"{each.name}={VALUES.get(each.name, '1')}" for each in required) if required else ""
    body = None if operation.request is None else BODIES[operation.request]
    return await engine.client.request(operation.method, path, json=body, headers=as_(token))


def test_the_table_is_complete() -> None:
    assert {name: row["permission"] for name, row in ROWS.items()} == {
        operation.operation_id: operation.permission or "-" for operation in OPERATIONS
    }
    assert tuple(HEAD[2:]) == get_args(RoleName)


@pytest.mark.parametrize(("operation", "role"), CASES, ids=[f"{each.operation_id}-{role}" for each, role in CASES])
async def test_every_route_asks_for_its_permission(engine: Engine, operation: Operation, role: RoleName) -> None:
    expected = ROWS[operation.operation_id][role]
    token = f"token-of-{role}"
    engine.callers.add(token, role, "caller")
    others = await engine.start(headers=as_(OTHERS))
    await engine.ended(others)
    answer = await ask(engine, operation, token, others)
    if expected == "no":
        body = await answer.json(content_type=None)
        assert answer.status == 403
        if operation.shape == "openai":
            assert body["error"]["code"] == "permission_missing"
            assert f"'{operation.permission}'" in body["error"]["message"]
        else:
            assert (body["code"], body["missing_permission"]) == ("permission_missing", operation.permission)
    elif expected == "yes":
        assert answer.status == 200, await answer.text()
    elif operation.operation_id == "listRuns":
        assert [run["execution_id"] for run in (await answer.json())["runs"]] == ([others] if expected == "all" else [])
    elif expected == "own":
        assert (answer.status, (await problem_of(answer)).code) == (404, "execution_not_found")
    if expected in {"own", "all"}:
        own = await engine.start(headers=as_(token))
        await engine.ended(own)
        for execution_id in (own, *([others] if expected == "all" else [])):
            answer = await ask(engine, operation, token, execution_id)
            # What has ended cannot be cancelled, which only its owner is told.
            assert answer.status == (409 if operation.operation_id == "cancelRun" else 200), await answer.text()


def test_every_permission_is_worth_something() -> None:
    elsewhere = {"read_all", "cancel_all"}
    asked_for = {operation.permission for operation in OPERATIONS} - {None}
    assert asked_for | elsewhere == set(get_args(Permission))


def test_the_document_names_the_permission_of_each_operation() -> None:
    paths = build_openapi()["paths"]
    for operation in OPERATIONS:
        document = paths[operation.path][operation.method.lower()]
        wanted = [] if operation.permission is None else [{"token": [operation.permission]}]
        assert document["security"] == wanted


async def test_another_callers_execution_looks_as_if_it_were_not_there(engine: Engine) -> None:
    others = await engine.start(headers=as_(OTHERS))
    await engine.ended(others)
    nobodys = "exec_" + "0" * 32
    for operation in OPERATIONS:
        if ROWS[operation.operation_id]["experimenter"] == "own":
            answers = [await ask(engine, operation, MINE, each) for each in (others, nobodys)]
            assert answers[0].status == answers[1].status
            assert await answers[0].read() == await answers[1].read()


@pytest.mark.parametrize("is_running", [True, False])
async def test_an_execution_under_way_is_its_callers_own_too(is_running: bool) -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        running = await engine.start(headers=as_(OTHERS))
        execution_id = running if is_running else await engine.start(headers=as_(OTHERS))
        for method in ("GET", "DELETE"):
            answer = await engine.client.request(method, f"/v1/runs/{execution_id}", headers=as_(MINE))
            assert (answer.status, (await problem_of(answer)).code) == (404, "execution_not_found")
        answer = await engine.client.get("/v1/runs", headers=as_(MINE))
        assert (await answer.json())["runs"] == []
        cancelled = await engine.client.delete(f"/v1/runs/{execution_id}", headers=as_(OTHERS))
        assert (await cancelled.json())["status"] == "cancelled"
        runner.gate.set()


async def test_an_operator_cancels_anybodys() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        execution_id = await engine.start(headers=as_(OTHERS))
        answer = await engine.client.delete(f"/v1/runs/{execution_id}", headers=as_(TOKEN))
        assert (await answer.json())["status"] == "cancelled"


async def test_a_list_has_pages_of_the_callers_own(engine: Engine) -> None:
    mine = []
    for number in range(6):
        execution_id = await engine.start(headers=as_(MINE if number % 2 else OTHERS))
        await engine.ended(execution_id)
        mine += [execution_id] if number % 2 else []
    listed: list[str] = []
    before: str | None = ""
    while before is not None:
        path = f"/v1/runs?limit=2{before and f'&before={before}'}"
        page: dict[str, Any] = await (await engine.client.get(path, headers=as_(MINE))).json()
        listed += [run["execution_id"] for run in page["runs"]]
        before = page["next"]
    assert listed == mine[::-1]
    others = next(each for each in engine.ledger.started if each not in mine)
    answer = await engine.client.get(f"/v1/runs?before={others}", headers=as_(MINE))
    assert (answer.status, (await problem_of(answer)).code) == (404, "execution_not_found")


async def test_plan_and_record_name_the_token(engine: Engine) -> None:
    execution_id = await engine.start(headers=as_(OTHERS))
    record = await engine.record(execution_id)
    assert (record.plan.role, record.plan.caller) == ("experimenter", "second")
    assert OTHERS not in record.model_dump_json()


async def test_tokens_are_listed_without_a_token(engine: Engine) -> None:
    answer = await engine.client.get("/v1/tokens")
    assert [each["name"] for each in (await answer.json())["tokens"]] == ["operator", "experimenter", "second"]
    text = await answer.text()
    assert not any(token in text for token in (TOKEN, MINE, OTHERS))
