"""Bodies as they come over the wire: too large, too slow, coded, cut short."""

import asyncio
import io
import json
from collections.abc import AsyncIterator

import pytest

from contracts.wire.units import MIB
from tests.api.harness import PATIENCE_S, Engine, problem_of
from tests.api.raw import HEAD, exchange, read_answer
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import answering

JSON = {"Content-Type": "application/json"}
POST = b"POST /v1/runs HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\n"
SPEC = json.dumps(spec_request()).encode()


@pytest.fixture(autouse=True)
async def _nothing_accepted_and_still_serving(engine: Engine) -> AsyncIterator[None]:
    yield
    assert engine.ledger.started == {}
    await engine.is_well()


async def test_a_hundred_megabytes_are_refused_by_their_announced_length(engine: Engine) -> None:
    problem = await problem_of(await engine.client.post("/v1/runs", data=io.BytesIO(b"x" * (100 * MIB)), headers=JSON))
    assert problem.code == "body_too_large"


async def test_an_announced_length_is_refused_before_a_byte_of_the_body(engine: Engine) -> None:
    answer = await exchange(engine, POST + b"Content-Length: 104857600\r\n\r\n")
    assert answer.problem("POST", "/v1/runs").code == "body_too_large"
    assert answer.headers["connection"] == "close"


async def test_a_hundred_megabytes_in_chunks_are_refused_when_they_pass_the_limit(engine: Engine) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1600):
            sent += 1
            yield b" " * 65_536

    problem = await problem_of(await engine.client.post("/v1/runs", data=chunks(), headers=JSON))
    assert problem.code == "body_too_large"


async def test_one_byte_past_the_limit_is_refused_and_the_limit_itself_is_read(engine: Engine) -> None:
    padded = SPEC + b" " * (MIB - len(SPEC))
    assert (await engine.client.post("/v1/plans", data=io.BytesIO(padded), headers=JSON)).status == 200
    assert (await engine.client.post("/v1/plans", data=io.BytesIO(padded + b" "), headers=JSON)).status == 413


async def test_a_body_that_trickles_in_is_refused_after_its_time() -> None:
    engine = Engine(answering(["ok"]))
    engine.body_timeout_s = 0.05
    async with engine.serving():
        answer = await exchange(engine, POST + b"Content-Length: 500\r\n\r\n{")
        problem = answer.problem("POST", "/v1/runs")
        assert problem.code == "malformed_json"
        assert "did not arrive" in problem.detail


async def test_a_slow_body_in_time_is_read(engine: Engine) -> None:
    async def bytes_one_by_one() -> AsyncIterator[bytes]:
        for byte in SPEC:
            yield bytes([byte])

    answer = await engine.client.post("/v1/plans", data=bytes_one_by_one(), headers=JSON)
    assert answer.status == 200


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/problem+json",
        "application/json; charset=iso-8859-1",
        "application/json, text/plain",
        "application/json; charset=utf-8; charset=utf-8",
        ";=",
    ],
)
async def test_another_media_type_is_refused(engine: Engine, media_type: str) -> None:
    answer = await engine.client.post("/v1/runs", data=SPEC, headers={"Content-Type": media_type})
    assert (await problem_of(answer)).code == "unsupported_media_type"


async def test_a_missing_media_type_is_refused(engine: Engine) -> None:
    head = b"POST /v1/runs HTTP/1.1\r\n" + HEAD
    answer = await exchange(engine, head + b"Content-Length: %d\r\n\r\n" % len(SPEC) + SPEC)
    assert answer.problem("POST", "/v1/runs").code == "unsupported_media_type"


@pytest.mark.parametrize(
    "media_type", ["Application/JSON", 'application/json ; charset="UTF-8"', "application/json;x=y;"]
)
async def test_json_has_parameters_that_change_nothing(engine: Engine, media_type: str) -> None:
    answer = await engine.client.post("/v1/plans", data=SPEC, headers={"Content-Type": media_type})
    assert answer.status == 200


@pytest.mark.parametrize("coding", ["identity", "Identity, identity", ""])
async def test_identity_is_no_coding(engine: Engine, coding: str) -> None:
    head = POST.replace(b"/v1/runs", b"/v1/plans")
    head += f"Content-Encoding: {coding}\r\nContent-Length: {len(SPEC)}\r\n\r\n".encode()
    assert (await exchange(engine, head + SPEC)).status == 200


async def test_a_coding_on_a_second_line_is_refused(engine: Engine) -> None:
    head = POST + b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
    answer = await exchange(engine, head)
    assert answer.problem("POST", "/v1/runs").code == "unsupported_media_type"
    assert (answer.headers["accept"], answer.headers["accept-encoding"]) == ("application/json", "identity")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "nonsense"])
async def test_a_coded_body_is_refused(engine: Engine, coding: str) -> None:
    head = POST + f"Content-Encoding: {coding}\r\nContent-Length: {len(SPEC)}\r\n\r\n".encode()
    assert (await exchange(engine, head + SPEC)).problem("POST", "/v1/runs").code == "unsupported_media_type"


async def test_chunks_that_turn_into_nonsense_are_refused_in_time() -> None:
    engine = Engine(answering(["ok"]))
    engine.body_timeout_s = 0.2
    async with engine.serving():
        reader, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
        async with asyncio.timeout(PATIENCE_S):
            # 100 Continue says that the head has been taken, so the fault lies in the body alone.
            writer.write(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
            await reader.readuntil(b"100 Continue\r\n\r\n")
            writer.write(b"5\r\n{    \r\nzz\r\n")
            answer = await read_answer(reader)
        writer.close()
        assert answer.problem("POST", "/v1/runs").code == "malformed_json"
        assert engine.ledger.started == {}


async def test_a_caller_that_leaves_in_the_middle_of_its_body_leaves_nothing(engine: Engine) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
    writer.write(POST + b"Content-Length: 500\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()
