"""Bytes that are no HTTP request: the answer is a problem document all the same, and quotes none of them."""

import asyncio

import pytest

from tests.api.harness import PATIENCE_S, TOKEN, Engine
from tests.api.raw import HEAD, exchange, read_answer

GET = b"GET /v1/version HTTP/1.1\r\n" + HEAD
POST = b"POST /v1/runs HTTP/1.1\r\n" + HEAD
SECRET = b"s3cret-in-the-head"

MALFORMED = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00" + SECRET + b"\r\n\r\n",
    "noise": SECRET + b"\x00\x01\x02\r\n\r\n",
    "http2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 9.9": b"GET /v1/version HTTP/9.9\r\n" + HEAD + b"\r\n",
    "bare line feeds": GET.replace(b"\r\n", b"\n") + b"\n",
    "method of other bytes": b"G\x80T /" + SECRET + b" HTTP/1.1\r\n\r\n",
    "target that is no url": b"GET http://[" + SECRET + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
    "zero byte in a header": GET + b"X-Secret: " + SECRET + b"\x00\r\n\r\n",
    "zero byte in the token": b"GET / HTTP/1.1\r\nAuthorization: Bearer " + TOKEN.encode() + b"\x00\r\n\r\n",
    "header without a name": GET + b": " + SECRET + b"\r\n\r\n",
    "header without a colon": GET + SECRET + b"\r\n\r\n",
    "space before the colon": GET + b"Content-Length : 0\r\n\r\n",
    "folded header": GET + b"X: a\r\n " + SECRET + b"\r\n\r\n",
    "long header": GET + b"X: " + SECRET * 2000 + b"\r\n\r\n",
    "long header name": GET + SECRET * 2000 + b": x\r\n\r\n",
    "long target": b"GET /v1/version?" + SECRET * 2000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
    "many headers": GET + b"X: y\r\n" * 500 + b"\r\n",
    "length of letters": POST + b"Content-Length: " + SECRET + b"\r\n\r\n",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "length with a sign": POST + b"Content-Length: +1\r\n\r\n{",
    "huge length": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown transfer coding": POST + b"Transfer-Encoding: gzip\r\n\r\n" + SECRET,
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunk size of letters": POST + b"Transfer-Encoding: chunked\r\n\r\n" + SECRET + b"\r\n\r\n",
    "unmet expectation": GET + b"Expect: " + SECRET + b"\r\n\r\n",
    "unmet expectation on an unknown path": b"GET /v9 HTTP/1.1\r\n" + HEAD + b"Expect: x\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_http_gets_a_problem_that_quotes_nothing(
    engine: Engine, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await exchange(engine, MALFORMED[name])
    problem = answer.problem("POST", "/v1/runs")
    assert (answer.status, problem.code) == (400, "bad_header")
    assert SECRET not in answer.body
    assert SECRET.decode() not in caplog.text
    assert TOKEN not in caplog.text
    assert engine.ledger.started == {}
    await engine.is_well()


async def test_a_fault_after_a_good_request_still_gets_a_problem(engine: Engine) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
    async with asyncio.timeout(PATIENCE_S):
        writer.write(GET + b"\r\n")
        assert (await read_answer(reader)).status == 200
        writer.write(b"\x00nonsense\r\n\r\n")
        assert (await read_answer(reader)).problem().code == "bad_header"
        assert await reader.read() == b"", "the connection is of no further use"
    writer.close()
    await engine.is_well()


@pytest.mark.parametrize("head", [b"CONNECT localhost:80 HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n"])
async def test_targets_that_are_no_path_are_not_found(engine: Engine, head: bytes) -> None:
    answer = await exchange(engine, head + HEAD + b"\r\n")
    assert answer.problem("GET", "*").code in {"not_found", "bad_header"}
    await engine.is_well()


async def test_an_upgrade_is_not_followed(engine: Engine) -> None:
    answer = await exchange(engine, GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert answer.status == 200
    assert "upgrade" not in answer.headers
    await engine.is_well()


async def test_a_connection_that_says_nothing_harms_nobody(engine: Engine) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", engine.client.port) for _ in range(50)]
    await engine.is_well()
    for _, writer in silent:
        writer.close()
