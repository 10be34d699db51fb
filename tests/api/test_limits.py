"""The limits of a token: what is refused, how it is told, and that a restart forgets nothing of the day."""

import pytest
from aiohttp import ClientResponse

from supervisor.domain.access.usage import Usage
from supervisor.domain.policies.roles import CallerLimits
from tests.api.harness import Engine, problem_of
from tests.fakes.run_requests import chat_request, spec_request
from tests.fakes.runner_scripts import HeldRunner, answering

LIMITED = "token-" + "l" * 32
AUTHORIZED = {"Authorization": f"Bearer {LIMITED}"}
TODAY = "2026-01-31"


@pytest.fixture
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """No midnight passes while the test runs."""
    for module in ("run_book", "service"):
        monkeypatch.setattr(f"supervisor.execution.{module}.day_of", lambda _: TODAY)


def limit(engine: Engine, **limits: int) -> None:
    engine.callers.add(LIMITED, "experimenter", "limited", CallerLimits(**limits))


async def require_told(answer: ClientResponse, name: str, most: int, used: int) -> None:
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (429, "limit_reached")
    assert problem.limit is not None
    assert (problem.limit.name, problem.limit.most, problem.limit.used) == (name, most, used)
    assert int(answer.headers["Retry-After"]) > 0


async def test_requests_of_any_kind_count_until_the_bucket_fills_again() -> None:
    now_ns = 0
    engine = Engine(answering(["ok"]))
    engine.clock_ns = lambda: now_ns
    limit(engine, requests_per_minute=3)
    async with engine.serving():
        await empty_bucket(engine)
        now_ns = 20 * 10**9
        assert (await engine.client.get("/v1/version", headers=AUTHORIZED)).status == 200


async def empty_bucket(engine: Engine) -> None:
    for path in ("/v1/version", "/v1/metrics-that-do-not-exist", "/v1/models"):
        assert (await engine.client.get(path, headers=AUTHORIZED)).status in {200, 404}
    answer = await engine.client.get("/v1/version", headers=AUTHORIZED)
    await require_told(answer, "requests_per_minute", 3, 3)
    assert answer.headers["Retry-After"] == "20"
    openai = await engine.client.get("/openai/v1/models", headers=AUTHORIZED)
    assert (openai.status, (await openai.json())["error"]["code"]) == (429, "rate_limit_exceeded")
    assert openai.headers["Retry-After"] == "20"
    assert (await engine.client.get("/v1/version")).status == 200


async def test_executions_at_once_count_waiting_ones_too() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        limit(engine, executions_at_once=2)
        key = AUTHORIZED | {"Idempotency-Key": "a-key"}
        begun = [await engine.start(headers=headers) for headers in (AUTHORIZED, key)]
        await require_told(await engine.post(headers=AUTHORIZED), "executions_at_once", 2, 2)
        # A repetition is no further execution, and others have limits of their own.
        assert await engine.start(headers=key) == begun[1]
        begun.append(await engine.start())
        runner.gate.set()
        for execution_id in begun:
            await engine.ended(execution_id)
        assert (await engine.post(headers=AUTHORIZED)).status == 200


@pytest.mark.usefixtures("_one_day")
async def test_tokens_of_the_day_are_counted_from_records(engine: Engine) -> None:
    limit(engine)
    first = await (await engine.post(headers=AUTHORIZED)).json()
    used = first["metrics"]["tokens_prompt"] + first["metrics"]["tokens_total"]
    asked = spec_request()["execution"]["limits"]["max_tokens"]
    limit(engine, tokens_per_day=used + asked)
    assert (await engine.post(headers=AUTHORIZED)).status == 200
    await require_told(await engine.post(headers=AUTHORIZED), "tokens_per_day", used + asked, 2 * used)
    answer = await engine.client.post("/openai/v1/chat/completions", json=chat_request(), headers=AUTHORIZED)
    assert answer.status == 429
    views = (await (await engine.client.get("/v1/tokens")).json())["tokens"]
    joules = sum(final.usage.energy_uj for final in engine.ledger.final.values()) // 10**6
    told = {view["name"]: (view["tokens_today"], view["joules_today"]) for view in views}
    assert (told["limited"], told["operator"]) == ((2 * used, joules), (0, 0))
    assert (await engine.post()).status == 200


@pytest.mark.parametrize("day", [TODAY, "2026-01-30"])
@pytest.mark.usefixtures("_one_day")
async def test_a_new_supervisor_counts_what_the_ledger_has_of_today(day: str) -> None:
    engine = Engine(HeldRunner())
    left = {day: {"limited": Usage(0, 5_000_000)}}

    async def usage_on(day: str) -> dict[str, Usage]:
        return left.get(day, {})

    engine.ledger.usage_on = usage_on  # type: ignore[method-assign] # what an earlier supervisor left
    await engine.book.recover()
    async with engine.serving():
        limit(engine, joules_per_day=5)
        if day == TODAY:
            await require_told(await engine.post(headers=AUTHORIZED), "joules_per_day", 5, 5)
        else:
            execution_id = await engine.start(headers=AUTHORIZED)
            await engine.client.delete(f"/v1/runs/{execution_id}", headers=AUTHORIZED)
