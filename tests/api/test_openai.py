"""Chats, completions and models in OpenAI's shape."""

import asyncio
import io
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from aiohttp import ClientResponse

from contracts.api.openai.errors import OpenAiError, OpenAiErrorAnswer
from supervisor.domain.planning.installation import Installation
from tests.api.harness import Engine, eventually
from tests.api.raw import HEAD, exchange
from tests.fakes.installation import VERSION, fixed_installation
from tests.fakes.run_requests import chat_request, completion_request
from tests.fakes.runner_scripts import HeldRunner, answering, saying

CHAT, COMPLETION, MODELS = "/openai/v1/chat/completions", "/openai/v1/completions", "/openai/v1/models"
NAME = "smollm2-135m-instruct"
MODEL = f"{NAME}:q4_1"
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
KEY = {"Idempotency-Key": "a-key"}


async def ask(engine: Engine, headers: dict[str, str] | None = None, **changes: Any) -> ClientResponse:
    return await engine.client.post(CHAT, json=chat_request(**changes), headers=headers)


async def complete(engine: Engine, headers: dict[str, str] | None = None, **changes: Any) -> ClientResponse:
    return await engine.client.post(COMPLETION, json=completion_request(**changes), headers=headers)


async def error_of(answer: ClientResponse) -> OpenAiError:
    return OpenAiErrorAnswer.parse(await answer.read()).error


async def chunks_of(answer: ClientResponse) -> list[Any]:
    """Return the documents of a stream, without its end, which must be there."""
    assert answer.status == 200
    assert answer.content_type == "text/event-stream"
    *lines, end, nothing = (await answer.text()).split("\n\n")
    assert (end, nothing) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def execution_of(answer: ClientResponse) -> str:
    return answer.headers["WeOS-Execution-Id"]


async def test_a_chat_is_answered_in_openais_shape(engine: Engine) -> None:
    answer = await ask(engine)
    document = await answer.json()
    execution_id = execution_of(answer)
    assert document == {
        "id": execution_id,
        "object": "chat.completion",
        "created": document["created"],
        "model": MODEL,
        "system_fingerprint": VERSION,
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Olá, mundo", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
    view = await engine.view(execution_id)
    assert document["created"] == int(datetime.fromisoformat(view["accepted_at"]).timestamp())


async def test_a_completion_is_answered_in_openais_shape(engine: Engine) -> None:
    document = await (await complete(engine)).json()
    assert document["object"] == "text_completion"
    assert document["choices"] == [{"index": 0, "text": "Olá, mundo", "logprobs": None, "finish_reason": "stop"}]
    assert document["usage"] == USAGE


@pytest.mark.parametrize(("reason", "word"), [("length", "length"), ("eos", "stop"), ("stop", "stop")])
async def test_why_an_answer_ended_is_told_in_openais_words(engine: Engine, reason: str, word: str) -> None:
    engine.sandboxes.script = answering(["x"] * 8, finish_reason=reason)
    assert (await (await ask(engine, stop=["z"])).json())["choices"][0]["finish_reason"] == word
    assert (await chunks_of(await complete(engine, stream=True, stop="z")))[-1]["choices"][0]["finish_reason"] == word


async def test_the_execution_is_recorded_like_every_other_and_the_answer_leads_to_its_record(engine: Engine) -> None:
    answer = await ask(engine, seed=7, stop=["x"], temperature=0.5)
    record = await engine.record(execution_of(answer))
    assert (record.plan.seed, record.plan.stop, record.plan.sampling.temperature) == (7, ("x",), 0.5)
    assert (record.plan.prompt_format, record.plan.prompt.form) == ("chat", "messages")
    link, relation, media_type = answer.headers["Link"].split("; ")
    assert (relation, media_type) == ('rel="describedby"', 'type="application/vnd.in-toto+json"')
    linked = await engine.client.get(link.strip("<>"))
    assert (linked.status, linked.content_type) == (200, "application/vnd.in-toto+json")


async def test_the_runner_gets_the_conversation_and_the_schema(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Where?"}]
    assert (await ask(engine, messages=messages, response_format=wanted)).status == 200
    job = json.loads(engine.sandboxes.opened[0].sent[1])
    assert job["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]
    assert job["grammar"]["kind"] == "json_schema"
    # The planner rewrites a schema; its properties keep their order.
    assert job["grammar"]["text"].index('"z"') < job["grammar"]["text"].index('"a"')


async def test_a_chat_is_streamed_as_chunks(engine: Engine) -> None:
    answer = await ask(engine, stream=True)
    chunks = await chunks_of(answer)
    first = chunks[0]
    assert {name: first[name] for name in first if name != "choices"} == {
        "id": execution_of(answer),
        "object": "chat.completion.chunk",
        "created": first["created"],
        "model": MODEL,
        "system_fingerprint": VERSION,
        "service_tier": "default",
    }
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]
        for delta, reason in (
            ({"role": "assistant", "content": "", "refusal": None}, None),
            ({"content": "Olá"}, None),
            ({"content": ", "}, None),
            ({"content": "mundo"}, None),
            ({}, "stop"),
        )
    ]
    assert answer.headers["Link"].startswith(f"</v1/runs/{execution_of(answer)}/record>")
    assert (await engine.record(execution_of(answer))).outcome == "completed"


async def test_a_completion_is_streamed_as_pieces_of_itself(engine: Engine) -> None:
    chunks = await chunks_of(await complete(engine, stream=True))
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["Olá", ", ", "mundo", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_is_in_a_last_chunk_of_its_own_where_it_is_asked_for(engine: Engine) -> None:
    for answer in (await ask(engine, **WITH_USAGE), await complete(engine, **WITH_USAGE)):
        *chunks, last = await chunks_of(answer)
        assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
        assert (last["choices"], last["usage"]) == ([], USAGE)


async def test_text_held_back_to_the_end_is_a_last_piece(engine: Engine) -> None:
    done = {"type": "done", "finish_reason": "eos", "tokens": 1, "text": "held"}
    token = {"type": "token", "index": 0, "token_id": 1, "text": ""}
    engine.sandboxes.script = saying({"type": "prompt", "tokens": 1}, token, done)
    chunks = await chunks_of(await ask(engine, stream=True))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", "held", None]
    assert (await (await ask(engine)).json())["choices"][0]["message"]["content"] == "held"


@pytest.mark.parametrize("text", ["\n\n", "\r\ndata: [DONE]\r\n\r\n", "\u2028\u2029\x85", "\x00", "data: [DONE]"])
async def test_no_text_can_end_a_chunk(engine: Engine, text: str) -> None:
    engine.sandboxes.script = answering([text, "end"])
    answer = await ask(engine, stream=True)
    body = await answer.text()
    assert len(body.splitlines()) == 2 * body.count("\n\n")
    assert [chunk["choices"][0]["delta"].get("content") for chunk in await chunks_of(answer)] == ["", text, "end", None]


async def test_a_waiting_stream_says_so() -> None:
    runner = HeldRunner()
    engine = Engine(runner)
    engine.keep_alive_s = 0.01
    async with engine.serving():
        answer = await ask(engine, stream=True)
        read = b""
        while b": waiting\n\n" not in read:
            read += await answer.content.readany()
        runner.gate.set()
        read += await answer.content.read()
        assert read.endswith(b"data: [DONE]\n\n")


async def test_a_failure_in_mid_stream_is_the_last_event(engine: Engine) -> None:
    token = {"type": "token", "index": 0, "token_id": 1, "text": "some"}
    engine.sandboxes.script = saying({"type": "prompt", "tokens": 1}, token, b"garbage")
    answer = await ask(engine, stream=True)
    assert answer.status == 200
    *_, text, event, nothing = (await answer.text()).split("\n\n")
    assert (json.loads(text.removeprefix("data: "))["choices"][0]["delta"], nothing) == ({"content": "some"}, "")
    name, data = event.split("\n")
    assert name == "event: error"
    error = OpenAiErrorAnswer.parse(data.removeprefix("data: ").encode()).error
    assert (error.type, error.code) == ("server_error", "runner_failed")
    assert (await engine.record(execution_of(answer))).outcome == "failed"


async def test_an_execution_that_fails_is_an_error_that_clients_do_not_repeat(engine: Engine) -> None:
    engine.sandboxes.script = saying({"type": "error", "code": "context_overflow", "message": "", "prompt_tokens": 99})
    answer = await ask(engine)
    error = await error_of(answer)
    assert (answer.status, error.type, error.code) == (400, "invalid_request_error", "context_length_exceeded")
    assert "The prompt alone has 99 tokens." in error.message
    assert answer.headers["x-should-retry"] == "false"
    assert (await engine.record(execution_of(answer))).outcome == "failed"


async def test_a_record_that_cannot_be_stored_is_an_error(engine: Engine) -> None:
    engine.every_execution_has_its_record = False
    engine.ledger.full_for_final = True
    answer = await ask(engine)
    assert (answer.status, (await error_of(answer)).code) == (507, "storage_full")
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["Retry-After"] == "5"
    streamed = await (await complete(engine, stream=True)).text()
    assert '"code":"storage_full"' in streamed.split("\n\n")[-2]


async def test_a_client_that_disconnects_cancels_its_execution() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        answer = await ask(engine, stream=True)
        waiting = asyncio.create_task(ask(engine))
        await eventually(lambda: len(engine.ledger.started) == 2)
        answer.close()
        waiting.cancel()
        await eventually(lambda: len(engine.ledger.final) == 2)
        outcomes = {(await engine.view(execution_id))["status"] for execution_id in engine.ledger.started}
        assert outcomes == {"cancelled"}


async def test_a_repeated_key_gets_the_first_execution(engine: Engine) -> None:
    first = await ask(engine, KEY)
    second = await ask(engine, KEY)
    assert await first.json() == await second.json()
    chunks = await chunks_of(await ask(engine, KEY, **WITH_USAGE))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:-1]] == ["", "Olá, mundo", None]
    assert {chunk["id"] for chunk in chunks} == {execution_of(first)}
    assert len(engine.sandboxes.opened) == 1
    other = await ask(engine, KEY, seed=1)
    assert (other.status, (await error_of(other)).code) == (400, "idempotency_key_reused")


async def test_a_repeated_key_gets_the_first_failure(engine: Engine) -> None:
    engine.sandboxes.script = saying({"type": "prompt", "tokens": 1}, b"garbage")
    first = await ask(engine, KEY)
    await engine.ended(execution_of(first))
    second = await ask(engine, KEY)
    assert (first.status, second.status, execution_of(second)) == (500, 500, execution_of(first))
    assert (await (await ask(engine, KEY, stream=True)).text()).split("\n\n")[-2].startswith("event: error\n")


async def test_a_full_queue_says_when_to_come_back() -> None:
    fixed = fixed_installation()
    queue = fixed.policies.admission.queue.model_copy(update={"waiting_max": 0})
    admission = fixed.policies.admission.model_copy(update={"queue": queue})
    runner = HeldRunner()
    full = replace(fixed, policies=replace(fixed.policies, admission=admission))
    async with Engine(runner, full).serving() as engine:
        await engine.start()
        answer = await ask(engine)
        error = await error_of(answer)
        assert (answer.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "x-should-retry" not in answer.headers
        runner.gate.set()


def with_models(*quantizations: str, template: bool = True) -> Installation:
    fixed = fixed_installation()
    (model,) = fixed.models
    named = [replace(model, quantization=each) for each in quantizations]
    return replace(fixed, models=tuple(each if template else replace(each, chat_template=None) for each in named))


async def test_models_are_listed_and_found_under_both_names(engine: Engine) -> None:
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "weos-engine"}
    assert await (await engine.client.get(MODELS)).json() == {"object": "list", "data": [model]}
    for name in (NAME, MODEL, MODEL.replace(":", "%3A")):
        assert await (await engine.client.get(f"{MODELS}/{name}")).json() == model


async def test_a_name_with_several_quantizations_is_refused_with_a_list() -> None:
    async with Engine(answering(["a"]), with_models("q4_1", "q8_0")).serving() as engine:
        for answer in (await ask(engine), await complete(engine), await engine.client.get(f"{MODELS}/{NAME}")):
            error = await error_of(answer)
            assert (answer.status, error.code, error.param) == (404, "model_not_found", "model")
            assert error.message.endswith(f"there is: {NAME}:q4_1, {NAME}:q8_0")
        assert (await (await ask(engine, model=f"{NAME}:q8_0")).json())["model"] == f"{NAME}:q8_0"


async def test_an_unknown_model_is_not_found(engine: Engine) -> None:
    for answer in (await ask(engine, model="gpt-4o"), await engine.client.get(f"{MODELS}/gpt-4o")):
        error = await error_of(answer)
        assert (answer.status, error.type, error.code) == (404, "invalid_request_error", "model_not_found")
    assert engine.ledger.started == {}


async def test_a_model_without_a_template_takes_completions_only() -> None:
    script = saying(
        {"type": "prompt", "tokens": 1},
        {"type": "done", "finish_reason": "eos", "tokens": 0, "text": ""},
    )
    async with Engine(script, with_models("q4_1", template=False)).serving() as engine:
        answer = await ask(engine)
        error = await error_of(answer)
        assert (answer.status, error.code, error.param) == (400, "chat_template_missing", "messages")


async def test_what_cannot_be_honoured_is_never_executed(engine: Engine) -> None:
    answer = await ask(engine, tools=[{"type": "function", "function": {"name": "f"}}])
    error = await error_of(answer)
    assert (answer.status, error.code, error.param) == (400, "unsupported_parameter", "tools")
    answer = await complete(engine, max_tokens=9000)
    error = await error_of(answer)
    assert (answer.status, error.code, error.param) == (400, "limit_out_of_range", "max_tokens")
    assert engine.ledger.started == {}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {"Content-Type": "application/json"}, 400, "malformed_json"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{" + b" " * 1_048_576, {"Content-Type": "application/json"}, 413, "body_too_large"),
        (b"{}", {"Content-Type": "application/json", "Idempotency-Key": "a b"}, 400, "missing_required_parameter"),
    ],
)
async def test_a_body_has_the_bounds_of_every_body(
    engine: Engine, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await engine.client.post(CHAT, data=io.BytesIO(body), headers=headers)
    assert (answer.status, (await error_of(answer)).code) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/openai/v1/embeddings", 404, "not_found"),
        ("GET", "/openai/", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", f"{MODELS}/{NAME}", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_is_told_in_openais_shape(
    engine: Engine, method: str, path: str, status: int, code: str
) -> None:
    answer = await engine.client.request(method, path)
    assert (answer.status, (await error_of(answer)).code) == (status, code)
    assert status != 405 or answer.headers["Allow"]


async def test_a_wrong_key_and_a_foreign_host_are_told_in_openais_shape(engine: Engine) -> None:
    answer = await engine.client.get(MODELS, headers={"Authorization": "Bearer sk-wrong"})
    error = await error_of(answer)
    assert (answer.status, error.type, error.code) == (401, "invalid_request_error", "invalid_api_key")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    raw = await exchange(engine, f"GET {MODELS} HTTP/1.1\r\n".encode() + HEAD.replace(b"localhost", b"evil") + b"\r\n")
    assert (raw.status, OpenAiErrorAnswer.parse(raw.body).error.code) == (403, "host_not_allowed")


async def test_a_path_that_only_looks_alike_keeps_problem_documents(engine: Engine) -> None:
    answer = await engine.client.get("/openai")
    assert (answer.status, answer.content_type) == (404, "application/problem+json")


async def test_a_fault_of_ours_is_told_in_openais_shape(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Installation:
        raise RuntimeError

    monkeypatch.setattr(engine.installation, "read", fail)
    answer = await engine.client.get(MODELS)
    error = await error_of(answer)
    assert (answer.status, error.type, error.code) == (500, "server_error", "internal_error")
