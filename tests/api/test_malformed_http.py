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
    "version 2.0": b"GET /v1/version HTTP/2.0\r\n" + HEAD + b"\r\n",
    "version 0.9": b"GET /v1/version\r\n\r\n",
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked before another coding": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "transfer codings on two lines": POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two tokens": GET + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode(),
    "two media types": POST + b"Content-Type: text/plain\r\nContent-Type: application/json\r\n\r\n",
    "target of another scheme": b"GET ftp://localhost/v1/version HTTP/1.1\r\n" + HEAD + b"\r\n",
    "asterisk without OPTIONS": b"GET * HTTP/1.1\r\n" + HEAD + b"\r\n",
    "lengths in a list": POST + b"Content-Length: 3, 3\r\n\r\nabc",
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


async def test_a_tunnel_is_not_implemented(engine: Engine) -> None:
    answer = await exchange(engine, b"CONNECT localhost:80 HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (answer.status, answer.problem("CONNECT", "*").code) == (501, "not_implemented")


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked", b'x;a=",", chunked'])
async def test_a_transfer_coding_beside_chunked_is_not_implemented(engine: Engine, coding: bytes) -> None:
    answer = await exchange(engine, POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n")
    assert (answer.status, answer.problem("POST", "/v1/runs").code) == (501, "not_implemented")
    assert answer.headers["connection"] == "close"
    assert engine.ledger.started == {}


@pytest.mark.parametrize("path", [b"/v1/version", b"/v9"])
async def test_an_expectation_that_cannot_be_met_is_told(engine: Engine, path: bytes) -> None:
    answer = await exchange(engine, b"GET " + path + b" HTTP/1.1\r\n" + HEAD + b"Expect: " + SECRET + b"\r\n\r\n")
    assert answer.status == 417
    assert SECRET not in answer.body
    assert answer.headers["connection"] == "close"


JSON = b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\n" + JSON + b"Content-Length: 5\r\n", 401),
        (b"POST /v9 HTTP/1.1\r\n" + HEAD + JSON + b"Content-Length: 5\r\n", 404),
        (b"PUT /v1/runs HTTP/1.1\r\n" + HEAD + JSON + b"Content-Length: 5\r\n", 405),
        (POST + JSON + b"Content-Length: 104857600\r\n", 413),
        (POST + b"Content-Length: 5\r\n", 415),
    ],
)
async def test_no_body_is_asked_for_that_is_refused_by_its_head(engine: Engine, head: bytes, status: int) -> None:
    """RFC 9110, 10.1.1."""
    answer = await exchange(engine, head + b"Expect: 100-continue\r\n\r\n")
    assert answer.status == status, "the first answer is the last"
    assert answer.headers["connection"] == "close"


async def test_a_body_that_will_be_read_is_asked_for(engine: Engine) -> None:
    answer = await exchange(engine, POST + JSON + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n", has_body=False)
    assert answer.status == 100


async def test_http_1_0_expects_nothing(engine: Engine) -> None:
    head = POST.replace(b"1.1", b"1.0") + JSON + b"Expect: 100-continue, x\r\nContent-Length: 2\r\n\r\n{}"
    assert (await exchange(engine, head)).problem("POST", "/v1/runs").code == "invalid_request"


@pytest.mark.parametrize(
    ("target", "allowed"), [(b"*", "DELETE, GET, HEAD, OPTIONS, POST"), (b"/healthz", "GET, HEAD, OPTIONS")]
)
async def test_options_tell_the_methods(engine: Engine, target: bytes, allowed: str) -> None:
    answer = await exchange(engine, b"OPTIONS " + target + b" HTTP/1.1\r\n" + HEAD + b"\r\n", has_body=False)
    assert (answer.status, answer.headers["allow"]) == (204, allowed)
    refused = await exchange(engine, b"OPTIONS " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert refused.status == 401, "and nobody else"


async def test_answers_are_never_coded(engine: Engine) -> None:
    """RFC 9110, 12.5.3 allows that even where `identity` is not acceptable."""
    answer = await exchange(engine, GET + b"Accept-Encoding: gzip, identity;q=0\r\n\r\n")
    assert "content-encoding" not in answer.headers
    assert answer.body.startswith(b"{")


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
