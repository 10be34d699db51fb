"""Runners that break, lie or stop: each leaves a failed record with its reason, and no sandbox."""

import asyncio
import json
from typing import Any

import pytest

from supervisor.domain.errors import ExecutionFault, Refusal
from supervisor.domain.sandbox.lock_content import FilterChain
from supervisor.domain.sandbox.locks import ThreadStatus
from supervisor.domain.sandbox.ports import ExitStatus
from tests.api.harness import Engine, eventually, problem_of
from tests.fakes.filters import LOCK_TWO, lock_one
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import READY, answering, saying
from tests.fakes.sandbox_facts import thread_under
from tests.fakes.sandboxes import FakeSandbox, Script

PROMPT = {"type": "prompt", "tokens": 5}
DONE = {"type": "done", "finish_reason": "eos", "tokens": 1, "text": ""}


def token(index: int = 0, **changes: Any) -> dict[str, Any]:
    return {"type": "token", "index": index, "token_id": 1, "text": "x"} | changes


def error(code: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": "words of the runner", **more}


async def failed(engine: Engine, script: Script, code: str, status: int) -> dict[str, Any]:
    """Execute with this runner; return the problem's document after checking record and sandbox."""
    engine.sandboxes.script = script
    answer = await engine.post()
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (status, code)
    assert problem.execution_id is not None
    record = await engine.record(problem.execution_id)
    assert record.outcome == "failed"
    assert record.reason is not None
    assert record.reason.code == code
    assert engine.sandboxes.destroyed == [engine.sandboxes.opened[0].container_id]
    await eventually(lambda: engine.free_cpus == 2)
    await engine.is_well()
    document: dict[str, Any] = json.loads(await answer.read())
    assert "words of the runner" not in json.dumps(document)
    return document


BROKEN: dict[str, tuple[dict[str, Any] | bytes, ...]] = {
    "garbage": (b"\x00\xff garbage",),
    "nothing": (b"",),
    "json that is no event": (b"[]",),
    "unknown event": ({"type": "confess"},),
    "unknown field": (PROMPT | {"more": 1},),
    "duplicate key": (b'{"type": "prompt", "tokens": 5, "tokens": 6}',),
    "not a number": (b'{"type": "prompt", "tokens": NaN}',),
    "oversize": (b'{"type": "token", "text": "' + b"x" * 20_000 + b'"}',),
    "deep": (b"[" * 10_000,),
    "lone surrogate": (PROMPT, b'{"type": "token", "index": 0, "token_id": 1, "text": "\\ud800"}'),
    "long text": (PROMPT, token(text="x" * 5000)),
    "ready twice": (READY,),
    "prompt twice": (PROMPT, PROMPT),
    "prompt without tokens": (PROMPT | {"tokens": 0},),
    "token before prompt": (token(),),
    "done before prompt": (DONE,),
    "first token missing": (PROMPT, token(1)),
    "token twice": (PROMPT, token(), token()),
    "tokens backwards": (PROMPT, token(), token(1), token(0)),
    "more tokens than asked for": (PROMPT, *(token(index) for index in range(9))),
    "done counts more": (PROMPT, token(), DONE | {"tokens": 2}),
    "done counts fewer": (PROMPT, token(), token(1), DONE),
    "length not reached": (PROMPT, token(), DONE | {"finish_reason": "length"}),
    "unknown reason to finish": (PROMPT, token(), DONE | {"finish_reason": "bored"}),
    "set-up error": (error("protocol_error"),),
    "decoding error": (PROMPT, token(), error("decode_failed")),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_runner_that_breaks_its_protocol_fails(engine: Engine, name: str) -> None:
    await failed(engine, saying(*BROKEN[name]), "runner_failed", 500)


@pytest.mark.parametrize(
    "first",
    [
        b"garbage",
        PROMPT,
        DONE,
        READY | {"protocol": 2},
        READY | {"backend": "cpu_avx512"},
        READY | {"cpu_features": ["a"] * 65},
        READY | {"llama_cpp_version": "<script>"},
    ],
)
async def test_a_runner_that_starts_wrong_fails(engine: Engine, first: dict[str, Any] | bytes) -> None:
    await failed(engine, saying(first=first), "runner_failed", 500)


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        ("model_load_failed", "model_load_failed", 500),
        ("context_failed", "model_load_failed", 500),
        ("out_of_memory", "memory_limit_exceeded", 422),
    ],
)
async def test_a_model_that_llama_cpp_refuses_is_named_with_its_reason(
    engine: Engine, code: str, reason: str, status: int
) -> None:
    first = error(code) | {"message": "tensor 'x' \x1b[31mnot found"}
    document = await failed(engine, saying(first=first), reason, status)
    assert document["detail"].endswith(f"'{spec_request()['model']}': tensor 'x' [31mnot found")


async def test_a_refusal_of_the_model_after_the_job_is_a_breach(engine: Engine) -> None:
    await failed(engine, saying(PROMPT, error("model_load_failed")), "runner_failed", 500)


async def test_memory_that_runs_out_after_the_job_is_told_without_the_runners_words(engine: Engine) -> None:
    await failed(engine, saying(PROMPT, error("out_of_memory")), "memory_limit_exceeded", 422)


@pytest.mark.parametrize(
    "first", [error("lockdown_failed"), READY | {"lockdown_policy": "sha256:" + "0" * 64}], ids=["failed", "another"]
)
async def test_a_runner_without_the_second_lock_never_gets_the_job(engine: Engine, first: dict[str, Any]) -> None:
    await failed(engine, saying(first=first), "lock_missing", 500)
    assert len(engine.sandboxes.opened[0].sent) == 1


async def test_where_the_kernel_hands_out_no_program_the_record_says_so(engine: Engine) -> None:
    engine.sandboxes.on_open = lambda sandbox: setattr(sandbox, "filters", None)
    record = await engine.record(await engine.start())
    assert record.outcome == "completed"
    assert record.sandbox is not None
    assert record.sandbox.isolation is not None
    assert record.sandbox.isolation.locks is not None
    assert record.sandbox.isolation.locks.programs is None


@pytest.mark.parametrize(
    "chains",
    [
        ((LOCK_TWO[::-1], lock_one()),) * 2,
        ((LOCK_TWO, LOCK_TWO),) * 2,
        ((LOCK_TWO, lock_one()), (lock_one(), LOCK_TWO)),
        ((LOCK_TWO, lock_one(), lock_one()),) * 2,
    ],
    ids=["another lock two", "another lock one", "another on one thread", "one more than is counted"],
)
async def test_a_lock_is_known_by_its_program(engine: Engine, chains: tuple[FilterChain, ...]) -> None:
    def change(sandbox: FakeSandbox) -> None:
        sandbox.filters = chains
        engine.sandboxes.on_open = None

    engine.sandboxes.on_open = change
    await failed(engine, saying(PROMPT, token(), DONE), "lock_missing", 500)
    assert len(engine.sandboxes.opened[0].sent) == 1


async def test_filters_that_the_kernel_does_not_show_are_not_believed(engine: Engine) -> None:
    def hide(sandbox: FakeSandbox) -> None:
        sandbox.filters_fault = ExecutionFault("lock_missing", "not permitted")
        engine.sandboxes.on_open = None

    engine.sandboxes.on_open = hide
    await failed(engine, saying(PROMPT, token(), DONE), "lock_missing", 500)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((thread_under(0),), (thread_under(1),)),
        ((thread_under(1),), (thread_under(2), thread_under(1))),
        ((thread_under(1),), (thread_under(2, user_ids=(0, 0, 0, 0)),)),
        ((thread_under(1),), ()),
        ((), (thread_under(2),)),
    ],
    ids=["no first lock", "one thread is free", "root", "cannot be seen", "could not be seen"],
)
async def test_what_is_seen_from_outside_counts_not_what_the_runner_says(
    engine: Engine, before: tuple[ThreadStatus, ...], after: tuple[ThreadStatus, ...]
) -> None:
    def unlock(sandbox: FakeSandbox) -> None:
        sandbox.threads_before, sandbox.threads_after = before, after
        engine.sandboxes.on_open = None

    engine.sandboxes.on_open = unlock
    await failed(engine, saying(PROMPT, token(), DONE), "lock_missing", 500)
    assert len(engine.sandboxes.opened[0].sent) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"interfaces": ("lo", "eth0")}, "network interfaces"),
        ({"memory_bytes": None}, "Memory"),
        ({"mapped_files": {"/memfd:x (deleted)": None}}, "mapped files"),
        ({"model": None}, "model file"),
    ],
)
async def test_a_sandbox_that_is_not_as_asked_never_gets_the_job(
    engine: Engine, changes: dict[str, Any], field: str
) -> None:
    def change(sandbox: FakeSandbox) -> None:
        sandbox.changed_facts = changes
        engine.sandboxes.on_open = None

    engine.sandboxes.on_open = change
    document = await failed(engine, saying(PROMPT, token(), DONE), "isolation_mismatch", 500)
    assert field in document["detail"]
    assert len(engine.sandboxes.opened[0].sent) == 1
    record = await engine.record(document["execution_id"])
    assert record.sandbox is not None
    assert record.sandbox.isolation is not None
    assert [each.field for each in record.sandbox.isolation.difference] == [field]


async def test_a_runner_of_another_build_never_gets_the_job(engine: Engine) -> None:
    first = READY | {"cpu_features": ["AVX2"]}
    document = await failed(engine, saying(first=first), "isolation_mismatch", 500)
    assert "ggml features" in document["detail"]


async def test_an_image_that_was_replaced_after_acceptance_is_not_run(engine: Engine) -> None:
    engine.installation.image_fault = Refusal("image_missing", "the runtime image has been replaced")
    problem = await problem_of(await engine.post())
    assert (problem.code, engine.sandboxes.opened) == ("image_missing", [])
    assert (await engine.record(problem.execution_id or "")).outcome == "failed"


async def test_events_from_before_the_job_are_a_breach_not_a_measurement(engine: Engine) -> None:
    async def hasty(sandbox: FakeSandbox, line_index: int) -> None:
        if line_index == 0:
            for event in (READY, PROMPT, token(), DONE):
                sandbox.say(event)

    await failed(engine, hasty, "runner_failed", 500)


async def test_a_context_overflow_says_how_large_the_prompt_is(engine: Engine) -> None:
    script = saying(error("context_overflow", prompt_tokens=2041))
    document = await failed(engine, script, "context_overflow", 422)
    assert "2041" in document["detail"]


async def test_a_prompt_without_tokens_is_the_callers_fault(engine: Engine) -> None:
    await failed(engine, saying(error("empty_prompt")), "empty_prompt", 422)


@pytest.mark.parametrize(
    ("fault", "exit_status", "code", "status"),
    [
        (ExecutionFault("model_assertion_failed", "abort"), ExitStatus(6, False), "model_assertion_failed", 500),
        (ExecutionFault("model_exception", "abort"), ExitStatus(6, False), "model_exception", 500),
        (ExecutionFault("model_crashed", "SIGSEGV"), ExitStatus(139, False), "model_crashed", 500),
        (ExecutionFault("lock_violated", "SIGSYS"), ExitStatus(159, False), "lock_violated", 500),
        (ExecutionFault("memory_limit_exceeded", "oom"), ExitStatus(137, True), "memory_limit_exceeded", 422),
        (ExecutionFault("runner_failed", "it ended"), ExitStatus(1, False), "runner_failed", 500),
        (ExecutionFault("runner_failed", "it ended well but early"), ExitStatus(0, False), "runner_failed", 500),
        (ExecutionFault("output_limit_exceeded", "too much"), None, "output_limit_exceeded", 422),
        (ExecutionFault("engine_unavailable", "silent"), None, "engine_unavailable", 503),
        (ExecutionFault("runner_failed", "x" * 5000), None, "runner_failed", 500),
    ],
)
@pytest.mark.parametrize("said_before", [0, 1, 3])
async def test_a_runner_that_ends_early_fails_with_its_exit_status(
    engine: Engine, fault: ExecutionFault, exit_status: ExitStatus | None, code: str, status: int, said_before: int
) -> None:
    async def ending(sandbox: FakeSandbox, line_index: int) -> None:
        if line_index == min(said_before, 1):
            for event in (PROMPT, token(), token(1))[:said_before]:
                sandbox.say(event)
            sandbox.end(fault, exit_status)
        elif line_index == 0:
            sandbox.say(READY)

    document = await failed(engine, ending, code, status)
    record = await engine.record(document["execution_id"])
    assert record.sandbox is not None
    assert record.sandbox.oom_killed is (exit_status.oom_killed if exit_status else None)
    assert record.sandbox.exit_code == (exit_status.exit_code if exit_status else None)


async def test_what_was_generated_before_the_fault_is_kept(engine: Engine) -> None:
    document = await failed(engine, saying(PROMPT, token(), token(1), b"garbage"), "runner_failed", 500)
    assert document["partial"]["output"] == "xx"
    assert document["partial"]["metrics"]["tokens_total"] == 2
    assert document["partial"]["status"] == "failed"


@pytest.mark.parametrize("silent_from", [0, 1])
async def test_a_runner_that_says_nothing_runs_into_its_time_limit(engine: Engine, silent_from: int) -> None:
    async def silent(sandbox: FakeSandbox, line_index: int) -> None:
        if line_index < silent_from:
            sandbox.say(READY)

    engine.sandboxes.script = silent
    request = spec_request()
    request["execution"]["limits"]["timeout_s"] = 1
    problem = await problem_of(await engine.post(request))
    assert problem.code == "time_limit_exceeded"
    assert problem.execution_id is not None
    record = await engine.record(problem.execution_id)
    assert (record.outcome, record.plan.limits.timeout_s) == ("failed", 1)
    assert len(engine.sandboxes.destroyed) == 1


async def test_another_timeout_than_ours_is_not_called_the_time_limit(engine: Engine) -> None:
    async def receive() -> tuple[bytes, int]:
        raise TimeoutError

    async def script(sandbox: FakeSandbox, line_index: int) -> None:
        del line_index

    engine.sandboxes.on_open = lambda sandbox: setattr(sandbox, "receive", receive)
    engine.sandboxes.script = script
    problem = await problem_of(await engine.post())
    engine.sandboxes.on_open = None
    assert problem.code == "internal_error"
    await engine.is_well()


async def test_a_container_of_another_image_never_gets_the_prompt(engine: Engine) -> None:
    engine.sandboxes.image_id = "sha256:" + "c" * 64
    problem = await problem_of(await engine.post())
    assert problem.code == "runner_failed"
    assert engine.sandboxes.opened[0].sent == []
    assert problem.execution_id is not None
    assert (await engine.record(problem.execution_id)).outcome == "failed"


@pytest.mark.parametrize("code", ["model_missing", "model_altered"])
async def test_a_model_that_changes_while_the_execution_waits_fails_it(engine: Engine, code: str) -> None:
    engine.models.later_fault = Refusal(code, "the file is not what it was")
    problem = await problem_of(await engine.post())
    assert problem.code == code
    assert problem.execution_id is not None
    assert engine.sandboxes.opened == []
    assert (await engine.record(problem.execution_id)).sandbox is None


def changing_the_model(engine: Engine, script: Script) -> Script:
    """The same runner, while somebody writes to its model file."""

    async def changed(sandbox: FakeSandbox, line_index: int) -> None:
        if line_index == 1:
            engine.models.change()
        await script(sandbox, line_index)

    return changed


async def test_an_answer_of_a_model_that_changed_meanwhile_fails(engine: Engine) -> None:
    script = changing_the_model(engine, answering(["a", "b"]))
    document = await failed(engine, script, "model_changed", 500)
    assert f"'{spec_request()['model']}'" in document["detail"]
    # What was computed is kept, and the record agrees with itself.
    assert document["partial"]["output"] == "ab"
    record = await engine.record(document["execution_id"])
    assert (record.measurements.finish_reason if record.measurements else None) == "eos"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("model_crashed", "model_changed"),
        ("model_assertion_failed", "model_changed"),
        ("lock_violated", "lock_violated"),
        ("memory_limit_exceeded", "memory_limit_exceeded"),
    ],
)
async def test_a_changed_model_explains_a_failure_of_llama_cpp_and_nothing_else(
    engine: Engine, fault: str, told: str
) -> None:
    async def ending(sandbox: FakeSandbox, line_index: int) -> None:
        if line_index == 0:
            sandbox.say(READY)
        else:
            sandbox.end(ExecutionFault(fault, "it ended"), ExitStatus(139, oom_killed=False))

    engine.sandboxes.script = changing_the_model(engine, ending)
    assert (await problem_of(await engine.post())).code == told


async def test_an_engine_that_dies_before_the_container_starts_fails_the_execution(engine: Engine) -> None:
    engine.sandboxes.up_for_open = False
    answer = await engine.post()
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (503, "engine_unavailable")
    assert "Retry-After" in answer.headers
    assert problem.execution_id is not None
    assert (await engine.record(problem.execution_id)).outcome == "failed"
    engine.sandboxes.up_for_open = True
    await engine.is_well()


async def test_unreadable_cpu_time_leaves_the_power_unmeasured_not_zero(engine: Engine) -> None:
    engine.sandboxes.on_open = lambda sandbox: setattr(sandbox, "cpu_ns", None)
    document = await (await engine.post()).json()
    assert document["metrics"]["watts_avg"] is None or document["metrics"]["watts_avg"] > 0
    record = await engine.record(document["execution_id"])
    assert record.power is not None
    assert {sample.cpu_time_ns for sample in record.power.samples} == {None}


async def test_a_failure_inside_the_supervisor_is_recorded_without_its_words(engine: Engine) -> None:
    async def receive() -> tuple[bytes, int]:
        message = "words of the fault"
        raise RuntimeError(message)

    engine.sandboxes.on_open = lambda sandbox: setattr(sandbox, "receive", receive)
    answer = await engine.post()
    problem = await problem_of(answer)
    assert problem.code == "internal_error"
    assert "words of the fault" not in await answer.text()
    assert problem.execution_id is not None
    assert (await engine.record(problem.execution_id)).outcome == "failed"
    engine.sandboxes.on_open = None
    await asyncio.sleep(0)
    await engine.is_well()
