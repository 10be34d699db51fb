"""The world around the supervisor fails: what is refused, what is kept, and what /healthz says meanwhile."""

import asyncio

import pytest
from aiohttp import ClientPayloadError

from contracts.api.responses import Health, Readiness
from supervisor.domain.errors import ExecutionFault, Refusal
from supervisor.domain.planning.installation import Installation
from tests.api.harness import Engine, eventually, problem_of
from tests.event_streams import read_event, read_events
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner, answering, saying
from tests.fakes.sandboxes import FakeSandbox


async def health(engine: Engine) -> tuple[int, Health]:
    answer = await engine.client.get("/healthz")
    return answer.status, Health.parse(await answer.read())


async def test_health_is_ok_when_executions_can_be_taken(engine: Engine) -> None:
    assert await health(engine) == (200, Health(status="ok", engine="up", unrecorded=0))


async def test_an_engine_that_is_down_refuses_for_now(engine: Engine) -> None:
    engine.sandboxes.up = False
    answer = await engine.post()
    assert (answer.status, (await problem_of(answer)).code) == (503, "engine_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert engine.ledger.started == {}
    assert await health(engine) == (503, Health(status="degraded", engine="down", unrecorded=0))
    engine.sandboxes.up = True
    await engine.is_well()


async def test_an_engine_that_hangs_is_down_to_whoever_asks_for_health() -> None:
    engine = Engine(answering(["ok"]))
    engine.health_timeout_s = 0.02
    engine.sandboxes.before_is_up = asyncio.Event().wait
    async with engine.serving():
        assert await health(engine) == (503, Health(status="degraded", engine="down", unrecorded=0))


async def readiness(engine: Engine) -> tuple[int, Readiness]:
    answer = await engine.client.get("/readyz")
    return answer.status, Readiness.parse(await answer.read())


def refuse(_sandbox: FakeSandbox) -> None:
    raise ExecutionFault("sandbox_failed", "Requested CPUs are not available")


async def test_an_engine_that_answers_and_cannot_start_a_container_is_not_ready(engine: Engine) -> None:
    assert await readiness(engine) == (200, Readiness(ready=True, reason=None))
    engine.sandboxes.on_open = refuse
    await engine.ended(await engine.start())
    assert await readiness(engine) == (503, Readiness(ready=False, reason="Requested CPUs are not available"))
    assert (await health(engine))[0] == 200
    engine.sandboxes.on_open = None
    await engine.ended(await engine.start())
    assert (await readiness(engine))[0] == 200


async def test_a_runner_that_fails_in_its_container_says_nothing_of_the_next_start() -> None:
    engine = Engine(saying(first={"type": "error", "code": "model_load_failed", "message": "no"}))
    async with engine.serving():
        await engine.ended(await engine.start())
        assert (await readiness(engine))[0] == 200


async def test_an_engine_that_is_down_or_hangs_is_not_ready() -> None:
    engine = Engine(answering(["ok"]))
    engine.health_timeout_s = 0.02
    down = (503, Readiness(ready=False, reason="the container engine does not answer"))
    async with engine.serving():
        engine.sandboxes.up = False
        assert await readiness(engine) == down
        engine.sandboxes.up = True
        engine.sandboxes.before_is_up = asyncio.Event().wait
        assert await readiness(engine) == down


async def test_without_an_engine_everything_that_needs_none_still_answers(engine: Engine) -> None:
    ended = await engine.start()
    await engine.ended(ended)
    engine.sandboxes.up = False
    paths = ("/v1/runs", f"/v1/runs/{ended}", f"/v1/runs/{ended}/record", "/v1/backends", "/v1/models", "/v1/version")
    for path in paths:
        assert (await engine.client.get(path)).status == 200


async def test_a_missing_image_is_refused(engine: Engine) -> None:
    engine.sandboxes.image_there = False
    answer = await engine.post()
    assert (answer.status, (await problem_of(answer)).code) == (503, "image_missing")
    assert engine.ledger.started == {}
    engine.sandboxes.image_there = True
    await engine.is_well()


@pytest.mark.parametrize("code", ["model_missing", "model_altered"])
async def test_a_model_that_is_gone_or_altered_is_refused(engine: Engine, code: str) -> None:
    engine.models.fault = Refusal(code, "the file is not what it was", field="/model")
    answer = await engine.post()
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (503, code)
    assert [error.field for error in problem.errors] == ["/model"]
    assert engine.ledger.started == {}
    engine.models.fault = None
    await engine.is_well()


async def test_a_full_disk_at_the_start_accepts_nothing(engine: Engine) -> None:
    engine.ledger.full_for_started = True
    answer = await engine.post()
    problem = await problem_of(answer)
    assert (answer.status, problem.code, problem.execution_id) == (507, "storage_full", None)
    assert "Retry-After" in answer.headers
    assert engine.sandboxes.opened == []
    await eventually(lambda: engine.free_cpus == 2)
    engine.ledger.full_for_started = False
    await engine.is_well()


async def test_a_full_disk_at_the_end_keeps_the_record_until_there_is_room(engine: Engine) -> None:
    engine.ledger.full_for_final = True
    answer = await engine.post()
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (507, "storage_full")
    assert problem.execution_id is not None
    assert engine.ledger.final == {}
    assert await health(engine) == (503, Health(status="degraded", engine="up", unrecorded=1))
    assert "1 ended executions wait for their record" in str((await readiness(engine))[1].reason)
    assert (await engine.client.get(f"/v1/runs/{problem.execution_id}/record")).status == 404
    engine.ledger.full_for_final = False
    assert (await engine.record(problem.execution_id)).outcome == "completed"
    assert await health(engine) == (200, Health(status="ok", engine="up", unrecorded=0))
    assert len(engine.ledger.final) == 1


async def test_a_full_disk_does_not_keep_the_cpus(engine: Engine) -> None:
    engine.ledger.full_for_final = True
    assert (await engine.post()).status == 507
    await eventually(lambda: engine.free_cpus == 2)
    engine.ledger.full_for_final = False


async def test_a_stream_says_that_its_record_is_not_stored(engine: Engine) -> None:
    engine.ledger.full_for_final = True
    events = await read_events(await engine.post(headers={"Accept": "text/event-stream"}))
    assert [event.name for event in events] == ["started", "token", "token", "token", "error"]
    assert events[-1].document["code"] == "storage_full"
    assert events[-1].document["execution_id"] == events[0].document["execution_id"]
    engine.ledger.full_for_final = False


async def test_cancelling_into_a_full_disk_says_so(engine: Engine) -> None:
    engine.sandboxes.script = HeldRunner()
    execution_id = await engine.start()
    await eventually(lambda: bool(engine.sandboxes.opened))
    engine.ledger.full_for_final = True
    answer = await engine.client.delete(f"/v1/runs/{execution_id}")
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (507, "storage_full")
    assert problem.execution_id == execution_id
    engine.ledger.full_for_final = False
    assert (await engine.record(execution_id)).outcome == "cancelled"


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/runs/exec_" + "0" * 32, f"/v1/runs/exec_{'0' * 32}/record"])
async def test_an_unreadable_ledger_is_a_problem_not_a_crash(engine: Engine, path: str) -> None:
    engine.ledger.unreadable = True
    answer = await engine.client.get(path)
    assert (answer.status, (await problem_of(answer)).code) == (507, "storage_full")
    engine.ledger.unreadable = False
    await engine.is_well()


async def test_a_record_that_cannot_be_made_fails_the_execution_instead_of_hanging_its_callers(engine: Engine) -> None:
    engine.sandboxes.on_open = lambda sandbox: setattr(sandbox, "container_id", "not what a container id looks like")
    async with asyncio.timeout(20):
        answer = await engine.post()
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (500, "internal_error")
    assert problem.execution_id is not None
    assert (await engine.record(problem.execution_id)).reason is not None
    engine.sandboxes.on_open = None
    await engine.is_well()


async def test_a_ledger_that_breaks_otherwise_does_not_hang_the_callers(engine: Engine) -> None:
    engine.every_execution_has_its_record = False
    engine.ledger.broken_for_final = True
    async with asyncio.timeout(20):
        answer = await engine.post()
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (500, "internal_error")
    assert problem.execution_id is not None
    assert (await health(engine))[0] == 503
    engine.ledger.broken_for_final = False
    await engine.is_well()


async def test_a_ledger_that_breaks_at_the_start_gives_the_cpus_back(engine: Engine) -> None:
    engine.ledger.broken_for_started = True
    for _ in range(40):
        assert (await engine.post()).status == 500
    await eventually(lambda: engine.free_cpus == 2)
    engine.ledger.broken_for_started = False
    await engine.is_well()


async def test_a_fault_of_ours_is_a_problem_without_its_words(engine: Engine) -> None:
    def read() -> Installation:
        message = "words of the fault"
        raise RuntimeError(message)

    engine.installation.read = read  # type: ignore[method-assign] # a fault that no port names
    for method, path in (("GET", "/v1/models"), ("GET", "/v1/backends"), ("POST", "/v1/plans"), ("POST", "/v1/runs")):
        answer = await engine.client.request(method, path, json=spec_request())
        assert (answer.status, (await problem_of(answer)).code) == (500, "internal_error")
        assert "words of the fault" not in await answer.text()
    assert engine.ledger.started == {}


async def test_a_stream_that_breaks_in_the_middle_breaks_off_and_does_not_pretend_to_end() -> None:
    async with Engine(HeldRunner()).serving() as engine:
        answer = await engine.post(headers={"Accept": "text/event-stream"})
        await read_event(answer)
        await read_event(answer)
        (run,) = engine.book._active.values()
        run._tokens.append(None)  # type: ignore[arg-type] # a fault of ours while the answer is under way
        run._notify()
        with pytest.raises(ClientPayloadError):
            await read_events(answer)
        assert (await engine.record(run.execution_id)).outcome == "cancelled"
