"""What strangers on this machine can take of the server: connections, memory and patience have their bounds."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from supervisor.api.connection import MAX_FIELD_BYTES
from supervisor.api.server import CONNECTIONS_MAX, MAX_HEADERS, ApiRunner
from tests.api.harness import PATIENCE_S, Engine, eventually
from tests.api.raw import HEAD, exchange, read_answer
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner, answering
from tests.fakes.sandboxes import FakeSandbox

ROOM = 8
GET = b"GET /v1/version HTTP/1.1\r\n" + HEAD + b"\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def small() -> AsyncIterator[Engine]:
    engine = Engine(answering(["ok"]))
    engine.connections_max = ROOM
    async with engine.serving():
        yield engine


async def connect(engine: Engine, first: bytes = b"") -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
    writer.write(first)
    await writer.drain()
    return reader, writer


async def close(*connections: Connection) -> None:
    for _, writer in connections:
        writer.transport.abort()


async def ended(connection: Connection) -> bool:
    """Wait for the server to end a connection; tell whether it did so without a word."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            said = await connection[0].read()
        except ConnectionError:
            said = b""
    await close(connection)
    return said == b""


@pytest.mark.parametrize("first", [b"", b"GET /v1/version HTTP/1.1\r\nX: ", b"\x16\x03", GET])
async def test_strangers_that_hold_connections_keep_nobody_out(small: Engine, first: bytes) -> None:
    held = [await connect(small, first) for _ in range(5 * ROOM)]
    assert (await exchange(small, GET)).status == 200
    for connection in held[:ROOM]:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(connection[0].read(), return_exceptions=True)
    assert len(small.connections) <= ROOM
    await close(*held)


async def test_strangers_do_not_end_the_idle_connection_of_a_caller(small: Engine) -> None:
    caller = await connect(small, GET)
    async with asyncio.timeout(PATIENCE_S):
        assert (await read_answer(caller[0])).status == 200
        held = [await connect(small) for _ in range(5 * ROOM)]
        caller[1].write(GET)
        assert (await read_answer(caller[0])).status == 200, "the strangers' own connections ended first"
    await close(caller, *held)


async def test_a_stranger_gets_one_answer_a_connection(small: Engine) -> None:
    """Else each connection makes the supervisor answer as often as its sender likes."""
    connection = await connect(small, b"GET /v1/version HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
    async with asyncio.timeout(PATIENCE_S):
        said = await connection[0].read()
    assert said.count(b"HTTP/1.1 401") == 1
    await close(connection)


@pytest.mark.parametrize("first", [b"", b"GET /v1/version HTTP/1.1\r\nX: "])
async def test_a_new_connection_must_say_its_first_head_in_time(first: bytes) -> None:
    engine = Engine(answering(["ok"]))
    engine.head_s = 0.05
    async with engine.serving():
        assert await ended(await connect(engine, first))
        assert (await exchange(engine, GET)).status == 200


async def test_a_caller_that_waits_for_its_execution_is_not_crowded_out() -> None:
    runner = HeldRunner()
    engine = Engine(runner)
    engine.connections_max = ROOM
    async with engine.serving():
        body = json.dumps(spec_request()).encode()
        head = b"POST /v1/runs HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        waiting = await connect(engine, head % len(body) + body)
        await eventually(lambda: len(engine.sandboxes.opened) == 1)
        held = [await connect(engine) for _ in range(5 * ROOM)]
        runner.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            assert (await read_answer(waiting[0])).status == 200
        await close(waiting, *held)


async def test_where_every_connection_is_at_work_the_newest_has_to_come_again() -> None:
    runner = HeldRunner()
    engine = Engine(runner)
    engine.connections_max = 1
    async with engine.serving():
        body = json.dumps(spec_request()).encode()
        head = b"POST /v1/runs HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        waiting = await connect(engine, head % len(body) + body)
        await eventually(lambda: len(engine.sandboxes.opened) == 1)
        assert await ended(await connect(engine))
        runner.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            assert (await read_answer(waiting[0])).status == 200
        await close(waiting)


@asynccontextmanager
async def deaf(engine: Engine, request: bytes) -> AsyncIterator[None]:
    """A caller that asks and reads nothing of the answer."""
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        caller.setblocking(False)
        await asyncio.get_running_loop().sock_connect(caller, ("127.0.0.1", engine.client.port))
        await asyncio.get_running_loop().sock_sendall(caller, request)
        yield


async def endless(sandbox: FakeSandbox, line_index: int) -> None:
    """A runner that says as much as its caller asked for, a kilobyte at a time."""
    count = json.loads(sandbox.sent[1])["max_tokens"] if line_index == 1 else 0
    await answering(["x" * 4000] * count, finish_reason="length")(sandbox, line_index)


async def test_a_caller_that_reads_nothing_of_its_stream_is_cut_off() -> None:
    engine = Engine(endless)
    engine.stall_s = 0.05
    async with engine.serving():
        request = spec_request()
        request["execution"] |= {"limits": {"max_tokens": 4000}, "context_tokens": 8192}
        body = json.dumps(request).encode()
        head = b"POST /v1/runs HTTP/1.1\r\n" + HEAD + b"Accept: text/event-stream\r\nContent-Type: application/json\r\n"
        async with deaf(engine, head + b"Content-Length: %d\r\n\r\n" % len(body) + body):
            await eventually(lambda: len(engine.ledger.final) == 1)
            await eventually(lambda: len(engine.connections) == 0)


@pytest.mark.parametrize("closed_meanwhile", [False, True])
async def test_a_caller_that_reads_nothing_of_its_answers_is_cut_off(closed_meanwhile: bool) -> None:
    engine = Engine(answering(["ok"]))
    engine.stall_s = 0.5
    async with engine.serving():
        async with deaf(engine, (b"GET /openapi.json HTTP/1.1\r\n" + HEAD + b"\r\n") * 300):
            await eventually(lambda: any(each.writing_paused for each in engine.connections))
            if closed_meanwhile:
                # As aiohttp does at many an end; what has not been read would keep the descriptor for ever.
                for connection in engine.connections:
                    connection.force_close()
            await eventually(lambda: len(engine.connections) == 0)
        await engine.is_well()


async def test_a_head_has_bounds_that_an_honest_one_does_not_reach(small: Engine) -> None:
    start = b"GET /v1/version HTTP/1.1\r\n" + HEAD
    assert (await exchange(small, start + b"X: " + b"a" * (MAX_FIELD_BYTES - 10) + b"\r\n\r\n")).status == 200
    assert (await exchange(small, start + b"X: y\r\n" * (MAX_HEADERS - 10) + b"\r\n")).status == 200
    for head in (b"X: " + b"a" * (MAX_FIELD_BYTES + 10) + b"\r\n\r\n", b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n"):
        assert (await exchange(small, start + head)).problem().code == "bad_header"


async def test_a_caller_that_has_said_all_it_has_to_say_is_gone(small: Engine) -> None:
    """What is no whole request gets no answer."""
    connection = await connect(small, b"GET /v1/version HTTP/1.1\r\n")
    connection[1].write_eof()
    assert await ended(connection)
    await small.is_well()


def test_connections_leave_descriptors_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ApiRunner(web.Application()).connections_max <= CONNECTIONS_MAX
    monkeypatch.setattr("resource.getrlimit", lambda which: (100 + 0 * which, 100))
    assert ApiRunner(web.Application()).connections_max == 25
