"""Run Requests that mean nothing, or ask for what there is not: refused before anything is accepted."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.harness import Engine, problem_of
from tests.fakes.run_requests import spec_request

JSON = {"Content-Type": "application/json"}
SPEC = json.dumps(spec_request())


@pytest.fixture(params=["/v1/runs", "/v1/plans"])
def path(request: pytest.FixtureRequest) -> str:
    """Both operations read the same request the same way."""
    return str(request.param)


@pytest.fixture(autouse=True)
async def _nothing_accepted_and_still_serving(engine: Engine) -> AsyncIterator[None]:
    yield
    assert engine.ledger.started == {}
    assert engine.sandboxes.opened == []
    await engine.is_well()


def request_with(pointer: str, value: Any) -> dict[str, Any]:
    """The specification's request with one value set, by JSON Pointer."""
    request: dict[str, Any] = json.loads(SPEC)
    *parents, last = pointer.strip("/").split("/")
    target = request
    for name in parents:
        target = target.setdefault(name, {})
    target[last] = value
    return request


@pytest.mark.parametrize(
    ("pointer", "value", "code", "available"),
    [
        ("/model", "llama-9", "unknown_model", ("smollm2-135m-instruct",)),
        ("/execution/quantization", "q8_0", "unknown_quantization", ("q4_1",)),
        ("/execution/backend", "tpu", "unknown_backend", ("cpu_avx2", "cpu_avx512")),
        ("/execution/backend", "cpu_x86_64", "unknown_backend", ("cpu_avx2", "cpu_avx512")),
        ("/execution/backend", "cpu_avx512", "unsupported_cpu", ("cpu_avx2", "cpu_avx512")),
        ("/execution/scheduler_policy", "fastest", "unknown_scheduler_policy", ("default",)),
    ],
)
async def test_what_does_not_exist_is_refused_with_what_does(
    engine: Engine, path: str, pointer: str, value: str, code: str, available: tuple[str, ...]
) -> None:
    answer = await engine.client.post(path, json=request_with(pointer, value))
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (422, code)
    assert [error.field for error in problem.errors] == [pointer]
    assert problem.available is not None
    assert set(available) <= set(problem.available)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/execution/limits/max_tokens", 8193),
        ("/execution/limits/timeout_s", 3601),
        ("/execution/context_tokens", 8193),
    ],
)
async def test_limits_beyond_the_policy_are_refused(engine: Engine, path: str, pointer: str, value: int) -> None:
    problem = await problem_of(await engine.client.post(path, json=request_with(pointer, value)))
    assert problem.code == "limit_out_of_range"
    assert [error.field for error in problem.errors] == [pointer]


async def test_a_power_limit_that_cannot_be_kept_is_refused(engine: Engine, path: str) -> None:
    problem = await problem_of(await engine.client.post(path, json=request_with("/execution/limits/max_watts", 0.001)))
    assert problem.code == "power_limit_unenforceable"
    assert [error.field for error in problem.errors] == ["/execution/limits/max_watts"]


async def test_another_engine_version_is_refused_with_412(engine: Engine, path: str) -> None:
    answer = await engine.client.post(path, json=spec_request(engine_version="9.9.9"))
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (412, "engine_version_mismatch")
    assert [error.field for error in problem.errors] == ["/engine_version"]


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/model", 7),
        ("/model", None),
        ("/model", "../../etc/passwd"),
        ("/prompt", ""),
        ("/prompt", 5),
        ("/prompt", ["a"]),
        ("/prompt", "a" * 131_073),
        ("/prompt", "é" * 65_537),
        ("/execution", None),
        ("/execution", []),
        ("/execution/backend", True),
        ("/execution/limits/max_tokens", 0),
        ("/execution/limits/max_tokens", -1),
        ("/execution/limits/max_tokens", "8"),
        ("/execution/limits/max_tokens", 8.5),
        ("/execution/limits/max_tokens", True),
        ("/execution/limits/max_watts", 0),
        ("/execution/limits/max_watts", "25"),
        ("/execution/limits/timeout_s", 0),
        ("/execution/limits/timeout_s", 1.5),
        ("/execution/context_tokens", 15),
        ("/execution/seed", -1),
        ("/execution/seed", 2**32 - 1),
        ("/execution/sampling/temperature", 2.1),
        ("/execution/sampling/repeat_penalty", 0.4),
        ("/execution/isolation", "none"),
        ("/nonce", "two words"),
        ("/nonce", ""),
        ("/engine_version", "latest"),
    ],
)
async def test_a_value_of_the_wrong_kind_is_refused_by_its_field(
    engine: Engine, path: str, pointer: str, value: Any
) -> None:
    answer = await engine.client.post(path, json=request_with(pointer, value))
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (422, "invalid_request")
    assert [error.field for error in problem.errors] == [pointer]


@pytest.mark.parametrize("stop", [[""], ["a" * 65], ["x"] * 9, "x", [1]])
async def test_stop_sequences_out_of_bounds_are_refused(engine: Engine, path: str, stop: Any) -> None:
    problem = await problem_of(await engine.client.post(path, json=request_with("/execution/stop", stop)))
    assert problem.code == "invalid_request"
    assert all(error.field.startswith("/execution/stop") for error in problem.errors)


async def test_sampling_without_effect_is_refused_not_ignored(engine: Engine, path: str) -> None:
    problem = await problem_of(await engine.client.post(path, json=request_with("/execution/sampling/top_k", 40)))
    assert problem.code == "invalid_request"
    assert "temperature" in problem.detail


@pytest.mark.parametrize(
    "pointer",
    ["/colour", "/execution/colour", "/execution/limits/max_joules", "/execution/sampling/mirostat"],
)
async def test_an_unknown_field_is_named(engine: Engine, path: str, pointer: str) -> None:
    problem = await problem_of(await engine.client.post(path, json=request_with(pointer, 1)))
    assert problem.code == "invalid_request"
    assert [(error.field, error.code) for error in problem.errors] == [(pointer, "extra_forbidden")]


@pytest.mark.parametrize("name", ["limits", "seed", "stop", "backend", "context_tokens"])
async def test_a_field_of_execution_at_the_top_is_told_its_place(engine: Engine, path: str, name: str) -> None:
    problem = await problem_of(await engine.client.post(path, json=request_with(f"/{name}", 1)))
    assert [error.message for error in problem.errors] == [f"belongs in the object execution: /execution/{name}"]


async def test_a_request_without_a_prompt_is_told_what_it_may_have(engine: Engine, path: str) -> None:
    request = spec_request()
    del request["prompt"]
    problem = await problem_of(await engine.client.post(path, json=request))
    assert [error.message for error in problem.errors] == ["Value error, give either prompt or messages"]


@pytest.mark.parametrize("missing", ["model", "execution"])
async def test_a_missing_field_is_named(engine: Engine, path: str, missing: str) -> None:
    request = spec_request()
    del request[missing]
    problem = await problem_of(await engine.client.post(path, json=request))
    assert [(error.field, error.code) for error in problem.errors] == [(f"/{missing}", "missing")]


async def test_every_fault_is_listed_at_once(engine: Engine, path: str) -> None:
    problem = await problem_of(await engine.client.post(path, json={"model": 1, "prompt": "", "colour": 1}))
    assert {error.field for error in problem.errors} == {"/model", "/prompt", "/execution", "/colour"}


async def test_a_long_name_of_an_unknown_field_does_not_lengthen_the_answer(engine: Engine, path: str) -> None:
    request = spec_request(**{f"{index}" + "x" * 20_000: 1 for index in range(30)})
    answer = await engine.client.post(path, json=request)
    assert (await problem_of(answer)).code == "invalid_request"
    assert len(await answer.read()) < 20_000


async def test_nothing_of_the_prompt_comes_back(engine: Engine, path: str) -> None:
    request = spec_request(prompt="the secret of the prompt\x00", model="no-such-model", nonce="not a nonce")
    answer = await engine.client.post(path, json=request)
    assert answer.status == 422
    assert "secret of the prompt" not in await answer.text()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"   ", "malformed_json"),
        (b"{", "malformed_json"),
        (b"null", "invalid_request"),
        (b"[]", "invalid_request"),
        (b'"text"', "invalid_request"),
        (b"[" + SPEC.encode() + b"]", "invalid_request"),
        (SPEC.encode() + b" {}", "malformed_json"),
        (b"\xef\xbb\xbf" + SPEC.encode(), "malformed_json"),
        (SPEC.encode("utf-16"), "malformed_json"),
        (b'{"model": "\xff\xfe"}', "malformed_json"),
        (b'{"model": "\xed\xa0\x80"}', "malformed_json"),
        (b'{"model": "\\ud800"}', "malformed_json"),
        (b'{"\\udfff": 1}', "malformed_json"),
        (b'{"model": "a\x00b"}', "malformed_json"),
        (b'{"model": NaN}', "malformed_json"),
        (b'{"model": Infinity}', "malformed_json"),
        (b'{"model": -Infinity}', "malformed_json"),
        (b'{"model": 1e999}', "malformed_json"),
        (b'{"model": -1e999}', "malformed_json"),
        (b'{"model": 01}', "malformed_json"),
        (b'{"model": 9007199254740992}', "invalid_request"),
        (b'{"model": ' + b"9" * 100_000 + b"}", "invalid_request"),
        (b'{"model": "a", "model": "b"}', "malformed_json"),
        (b'{"execution": {"limits": {"max_tokens": 1, "max_tokens": 2}}}', "malformed_json"),
        (b"[" * 1000 + b"]" * 1000, "malformed_json"),
        (b"[" * 500_000, "malformed_json"),
        (b'{"a":' * 100_000, "malformed_json"),
        (SPEC.replace('"execution"', "'execution'").encode(), "malformed_json"),
        (b"// comment\n" + SPEC.encode(), "malformed_json"),
    ],
    ids=range(30),
)
async def test_what_is_not_one_json_document_is_refused(engine: Engine, path: str, body: bytes, code: str) -> None:
    answer = await engine.client.post(path, data=body, headers=JSON)
    problem = await problem_of(answer)
    assert problem.code == code
    assert answer.status == (400 if code == "malformed_json" else 422)
