"""The conformance suite against the product's own API: honest engines hold, and every property has an engine that
breaks it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from contracts.releases.reports import ComparedModel, ConformanceResult
from supervisor.client.engine_client import Answer
from supervisor.client.event_stream import StreamEvent, parse_events
from supervisor.release.conformance import LONG_TOKENS, PROPERTIES, try_properties
from supervisor.release.subject import Broken, Subject
from supervisor.release.workload import WORKLOAD, Case, Workload, run_workload
from tests.api.harness import Engine
from tests.fakes.installation import MODEL_SHA256
from tests.fakes.runner_scripts import READY
from tests.fakes.sandboxes import FakeSandbox, Script

Asked = tuple[str, str, bytes | None, dict[str, str]]
Change = Callable[[Asked], Asked]
Answering = Callable[[Asked, Answer], Answer]
MODEL = ComparedModel(name="smollm2-135m-instruct", quantization="q4_1", sha256=MODEL_SHA256)


def computing(noise: Callable[[dict[str, Any], int], str] = lambda job, count: "", *, fast: bool = False) -> Script:
    """A runner whose text follows from the job, and from `noise`, which is told how many jobs came before."""
    count = 0

    async def script(sandbox: FakeSandbox, line_index: int) -> None:
        nonlocal count
        if line_index == 0:
            sandbox.say(READY)
        if line_index != 1:
            return
        job = json.loads(sandbox.sent[1])
        count += 1
        if job["max_tokens"] == LONG_TOKENS and not fast:
            await asyncio.sleep(3600)
        said = job["prompt"] or job["messages"][-1]["content"]
        words = [f"{said[:3]}{job['seed']}{noise(job, count)}", " and", " so", " on"][: job["max_tokens"]]
        sandbox.say({"type": "prompt", "tokens": 5})
        for index, text in enumerate(words):
            sandbox.say({"type": "token", "index": index, "token_id": index, "text": text})
        sandbox.say({"type": "done", "finish_reason": "eos", "tokens": len(words), "text": ""})

    return script


class Bridge:
    """The harness as the suite's client; `change` bends what is asked, `answering` what is answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self.change: Change = lambda asked: asked
        self.answering: Answering = lambda asked, answer: answer

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        asked = self.change((method, path, body, headers or {}))
        return self.answering(asked, asyncio.run_coroutine_threadsafe(self._ask(asked), self._loop).result())

    async def _ask(self, asked: Asked) -> Answer:
        method, path, body, headers = asked
        async with self._engine.client.request(method, path, data=body, headers=headers) as answer:
            return Answer(answer.status, await answer.read())

    def stream_run(self, request: dict[str, Any] | bytes) -> Iterator[StreamEvent]:
        assert isinstance(request, dict)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        answer = self.ask("POST", "/v1/runs", json.dumps(request).encode(), headers)
        yield from parse_events(answer.body.splitlines())


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine(computing()).serving() as serving:
        yield serving


def subject_of(engine: Engine, bridge: Bridge | None = None) -> Subject:
    return Subject(bridge or Bridge(engine), engine.version, "cpu_avx2", "hardened", MODEL)


async def tried(subject: Subject, *names: str) -> dict[str, ConformanceResult]:
    chosen = [each for each in PROPERTIES if not names or each[0] in names]
    told: list[str] = []
    results = await asyncio.to_thread(try_properties, subject, chosen, told.append)
    assert told == [name for name, _ in chosen]
    return {result.name: result for result in results}


async def test_an_honest_engine_has_every_property(engine: Engine) -> None:
    results = await tried(subject_of(engine))
    assert {name: result.observed for name, result in results.items() if not result.holds} == {}
    assert list(results) == [name for name, _ in PROPERTIES]


async def test_a_fast_engine_keeps_its_time_limit_without_being_ended(engine: Engine) -> None:
    engine.sandboxes.script = computing(fast=True)
    result = (await tried(subject_of(engine), "time_limit_is_kept"))["time_limit_is_kept"]
    assert (result.holds, result.observed) == (True, "the execution ended within its limit of 1 s")


@pytest.mark.parametrize(
    ("name", "script", "seen"),
    [
        ("greedy_repeats", computing(lambda job, count: str(count)), "gave different texts"),
        (
            "seeded_repeats",
            computing(lambda job, count: str(count) if job["sampling"]["temperature"] else ""),
            "the same seed gave different texts",
        ),
    ],
)
async def test_chance_shows(engine: Engine, name: str, script: Script, seen: str) -> None:
    engine.sandboxes.script = script
    result = (await tried(subject_of(engine), name))[name]
    assert not result.holds
    assert seen in result.observed


def without(part: str) -> Change:
    """Lose a field of the request, or of its limits."""

    def change(asked: Asked) -> Asked:
        method, path, body, headers = asked
        if body is None or method != "POST":
            return asked
        document = json.loads(body)
        document.pop(part, None)
        document.get("execution", {}).get("limits", {}).pop(part, None)
        return method, path, json.dumps(document).encode(), headers

    return change


def with_first_message_only(asked: Asked) -> Asked:
    """Lose the rest of the conversation."""
    method, path, body, headers = asked
    if method != "POST" or body is None:
        return asked
    document = json.loads(body)
    document["messages"] = document["messages"][:1]
    return method, path, json.dumps(document).encode(), headers


def as_raw_prompt(asked: Asked) -> Asked:
    """Send the last question without its conversation and template."""
    method, path, body, headers = asked
    if method != "POST" or body is None:
        return asked
    document = json.loads(body)
    document["prompt"] = document.pop("messages")[-1]["content"]
    document["execution"]["prompt_format"] = "raw"
    return method, path, json.dumps(document).encode(), headers


def without_header(name: str) -> Change:
    def change(asked: Asked) -> Asked:
        method, path, body, headers = asked
        return method, path, body, {key: value for key, value in headers.items() if key != name}

    return change


def altered(path_end: str, **changes: Any) -> Answering:
    """Change fields of the answers of a path."""

    def answering(asked: Asked, answer: Answer) -> Answer:
        if not asked[1].endswith(path_end) or answer.status >= 400:
            return answer
        return Answer(answer.status, json.dumps(answer.document | changes).encode())

    return answering


def flipped(asked: Asked, answer: Answer) -> Answer:
    """Bend every record."""
    if not asked[1].endswith("/record") or answer.status >= 400:
        return answer
    envelope = answer.document
    text = envelope["payload"]
    envelope["payload"] = ("A" if text[40] != "A" else "B").join((text[:40], text[41:]))
    return Answer(answer.status, json.dumps(envelope).encode())


def replaced(old: bytes, new: bytes) -> Answering:
    return lambda asked, answer: Answer(answer.status, answer.body.replace(old, new))


def always(status: int, **document: Any) -> Answering:
    return lambda asked, answer: Answer(status, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("name", "bend", "seen"),
    [
        ("answer_has_its_shape", altered("/runs", surprise=1), "violates its contract"),
        ("answer_has_its_shape", altered("/runs", engine_version="9.9.9"), "from version 9.9.9"),
        ("answer_has_its_shape", replaced(b'"watts_avg"', b'"watts"'), "violates its contract"),
        ("answer_has_its_shape", altered("/runs", status="aborted"), "ended as aborted"),
        ("answer_has_its_shape", flipped, "the record is BAD_SIGNATURE"),
        ("greedy_repeats", flipped, "the record is BAD_SIGNATURE"),
        ("token_limit_is_kept", without("max_tokens"), "its limit was 1"),
        ("power_limit_is_kept", without("max_watts"), "power_limit_unenforceable was expected"),
        ("bad_requests_are_refused", without("surprise"), "invalid_request was expected, but the API answered 200"),
        ("bad_requests_are_refused", without_header("Authorization"), "unauthorized was expected"),
        ("cancelled_is_recorded", always(404, code="not_found"), "answered 404 not_found"),
        ("a_key_never_executes_twice", without_header("Idempotency-Key"), "led to two executions"),
        ("stream_is_the_answer", replaced(b'" and"', b'" or"'), "differs from that of the answer"),
        ("plan_is_what_is_executed", without("nonce"), "the nonce or the prompt"),
        ("plan_is_what_is_executed", altered("/plans", plan_digest="sha256:0"), "the executed plan differs"),
        ("plan_is_what_is_executed", replaced(b" and so", b" or so"), "differs from the text of the answer"),
        ("conversation_goes_through_the_template", with_first_message_only, "names another conversation"),
        ("conversation_goes_through_the_template", as_raw_prompt, "does not name the chat template"),
        ("conversation_goes_through_the_template", always(500, code="other"), "chat_template_missing was expected"),
    ],
)
async def test_every_property_has_an_engine_that_breaks_it(
    engine: Engine, name: str, bend: Change | Answering, seen: str
) -> None:
    bridge = Bridge(engine)
    if bend.__code__.co_argcount == 1:
        bridge.change = bend  # type: ignore[assignment] # told apart by what it takes
    else:
        bridge.answering = bend  # type: ignore[assignment] # likewise
    result = (await tried(subject_of(engine, bridge), name))[name]
    assert not result.holds, result
    assert seen in result.observed


SMALL = Workload(cases=(Case("short_answer", "Where?", 2, "raw"), Case("long_answer", "When?", 4, "auto")), repeats=3)


async def test_a_workload_is_executed_in_turns_and_names_its_records(engine: Engine) -> None:
    told: list[str] = []
    formats: list[str] = []
    bridge = Bridge(engine)

    def remembering(asked: Asked) -> Asked:
        if asked[0] == "POST" and asked[2] is not None:
            formats.append(json.loads(asked[2])["execution"]["prompt_format"])
        return asked

    bridge.change = remembering
    cases, envelopes = await asyncio.to_thread(run_workload, subject_of(engine, bridge), SMALL, told.append)
    assert formats == ["raw", "auto"] * 3
    assert told == ["short_answer", "long_answer"] * 3
    assert [(case.case, len(case.executions)) for case in cases] == [("short_answer", 3), ("long_answer", 3)]
    assert {each.execution_id for case in cases for each in case.executions} == set(envelopes)
    assert [case.executions[0].tokens_total for case in cases] == [2, 4]
    assert len({each.output for each in cases[0].executions}) == 1
    assert cases[0].median.tokens_per_sec in {each.tokens_per_sec for each in cases[0].executions}


async def test_a_model_without_a_template_refuses_conversations(engine: Engine) -> None:
    installed = engine.installation.value
    plain = tuple(replace(model, chat_template=None) for model in installed.models)
    engine.installation.value = replace(installed, models=plain)
    name = "conversation_goes_through_the_template"
    result = (await tried(subject_of(engine), name))[name]
    assert (result.holds, "has no chat template" in result.observed) == (True, True)


async def test_a_workload_that_does_not_complete_is_told(engine: Engine) -> None:
    bridge = Bridge(engine)
    bridge.answering = always(500, code="internal_error")
    with pytest.raises(Broken, match="answered 500 internal_error"):
        await asyncio.to_thread(run_workload, subject_of(engine, bridge), SMALL, lambda _name: None)


def test_another_workload_has_another_name() -> None:
    assert WORKLOAD.digest != SMALL.digest
    assert Workload(WORKLOAD.cases, WORKLOAD.repeats + 1).digest != WORKLOAD.digest
