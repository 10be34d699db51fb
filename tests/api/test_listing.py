"""Pages of executions."""

import asyncio
from typing import Any

import pytest

from tests.api.harness import Engine, problem_of
from tests.fakes.runner_scripts import HeldRunner


async def page(engine: Engine, query: str = "") -> dict[str, Any]:
    answer = await engine.client.get("/v1/runs" + query)
    assert answer.status == 200
    document: dict[str, Any] = await answer.json()
    return document


async def accepted(engine: Engine, count: int) -> list[str]:
    return [(await (await engine.post()).json())["execution_id"] for _ in range(count)]


async def test_there_are_none_at_first(engine: Engine) -> None:
    assert await page(engine) == {"runs": [], "next": None}


async def test_the_newest_comes_first(engine: Engine) -> None:
    ids = await accepted(engine, 3)
    listed = await page(engine)
    assert [run["execution_id"] for run in listed["runs"]] == ids[::-1]
    assert listed["next"] is None
    assert {run["status"] for run in listed["runs"]} == {"completed"}


@pytest.mark.parametrize(("count", "limit"), [(5, 2), (4, 2), (3, 3), (3, 1), (2, 200)])
async def test_the_pages_together_hold_each_execution_once(engine: Engine, count: int, limit: int) -> None:
    ids = await accepted(engine, count)
    seen, query = [], f"?limit={limit}"
    for _ in range(count + 1):
        listed = await page(engine, query)
        assert len(listed["runs"]) <= limit
        seen += [run["execution_id"] for run in listed["runs"]]
        if listed["next"] is None:
            break
        query = f"?limit={limit}&before={listed['next']}"
    assert seen == ids[::-1]


async def test_fifty_come_unless_told_otherwise(engine: Engine) -> None:
    await asyncio.gather(*(engine.post() for _ in range(30)))
    await asyncio.gather(*(engine.post() for _ in range(25)))
    listed = await page(engine)
    assert len(listed["runs"]) == 50
    assert listed["next"] == listed["runs"][-1]["execution_id"]


async def test_executions_under_way_are_listed_as_they_stand() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        first, second = await engine.start(), await engine.start()
        await engine.said(first, "first")
        statuses = {run["execution_id"]: run["status"] for run in (await page(engine))["runs"]}
        assert statuses == {first: "running", second: "queued"}
        runner.gate.set()
        await engine.ended(second)


async def test_a_page_before_an_unknown_execution_is_not_taken_for_the_end(engine: Engine) -> None:
    await accepted(engine, 1)
    problem = await problem_of(await engine.client.get("/v1/runs?before=exec_" + "f" * 32))
    assert (problem.status, problem.code) == (404, "execution_not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=abc", "limit"),
        ("limit=0x10", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=1&limit=2", "query"),
        ("before=", "before"),
        ("before=exec_1", "before"),
        ("before=exec_" + "0" * 32 + "'--", "before"),
        ("before=%00", "before"),
        ("before=%ff", "before"),
        ("offset=3", "query"),
        ("Limit=3", "query"),
        ("x", "query"),
    ],
)
async def test_a_bad_parameter_is_named(engine: Engine, query: str, field: str) -> None:
    answer = await engine.client.get("/v1/runs?" + query)
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (400, "bad_parameter")
    assert [error.field for error in problem.errors] == [field]
