"""Callers that end their sending half, as `nc -N` does: they get their answer. Those that are gone get none."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from supervisor.api.connection import INTERIM
from supervisor.api.server import ApiRunner
from tests.api.harness import PATIENCE_S, Engine, eventually
from tests.api.raw import HEAD, exchange, read_answer
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner

SPEC = json.dumps(spec_request()).encode()
GET = b"GET /v1/version HTTP/1.1\r\n" + HEAD + b"\r\n"
FIELDS = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(SPEC)
POST = b"POST /v1/runs HTTP/1.1\r\n" + HEAD + FIELDS + b"\r\n" + SPEC
STREAM = b"POST /v1/runs HTTP/1.1\r\n" + HEAD + b"Accept: text/event-stream\r\n" + FIELDS + b"\r\n" + SPEC
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(engine: Engine, request: bytes, *, then_end: bool = True) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
    writer.write(request)
    await writer.drain()
    if then_end:
        writer.write_eof()
    return reader, writer


async def all_of(connection: Connection) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        said = await connection[0].read()
    connection[1].close()
    # On a busy machine an answer may take so long that the caller is looked for.
    return said.replace(INTERIM, b"")


@pytest.mark.parametrize("request_bytes", [GET, POST, STREAM, GET.replace(b"1.1", b"1.0")], ids=range(4))
async def test_a_whole_request_is_answered_after_its_callers_half_has_ended(
    engine: Engine, request_bytes: bytes
) -> None:
    said = await all_of(await connect(engine, request_bytes))
    assert said.split(b" ", 2)[1] == b"200"
    assert said.endswith((b"}", b"\r\n0\r\n\r\n")), "whole, and then the connection ends"
    assert all(final.outcome == "completed" for final in engine.ledger.final.values())


async def test_every_request_of_a_batch_is_answered(engine: Engine) -> None:
    said = await all_of(await connect(engine, GET + POST + GET))
    assert said.count(b"HTTP/1.1 200 OK") == 3


async def test_an_execution_goes_on_for_a_caller_that_only_waits() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        connection = await connect(engine, POST)
        async with asyncio.timeout(PATIENCE_S):
            assert (await read_answer(connection[0], has_body=False)).status == 100, "this looks whether it is there"
        assert engine.ledger.final == {}
        runner.gate.set()
        assert b"HTTP/1.1 200 OK" in await all_of(connection)


@pytest.mark.parametrize("request_bytes", [POST, STREAM], ids=["document", "stream"])
@pytest.mark.parametrize("leaves", ["at once", "later", "by reset"])
async def test_the_execution_of_a_caller_that_has_gone_is_cancelled(request_bytes: bytes, leaves: str) -> None:
    engine = Engine(HeldRunner())
    engine.keep_alive_s = 0.05
    async with engine.serving():
        reader, writer = await connect(engine, request_bytes, then_end=leaves == "later")
        await eventually(lambda: len(engine.sandboxes.opened) == 1)
        if leaves == "later":
            async with asyncio.timeout(PATIENCE_S):
                await reader.readuntil(b"\r\n\r\n")
        if leaves == "by reset":
            writer.transport.abort()
        writer.close()
        await eventually(lambda: len(engine.ledger.final) == 1)
        (execution_id,) = engine.ledger.final
        assert (await engine.record(execution_id)).outcome == "cancelled"
        await eventually(lambda: not any(each.half_closed.is_set() for each in engine.connections))


async def test_a_body_cut_short_is_refused_and_not_waited_for(engine: Engine) -> None:
    said = await all_of(await connect(engine, POST[:-5]))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert engine.ledger.started == {}


@pytest.mark.parametrize("request_bytes", [b"", b"GET /v1/version HTTP/1.1\r\n", GET[:-2]], ids=range(3))
async def test_what_is_no_whole_request_is_not_answered(engine: Engine, request_bytes: bytes) -> None:
    assert await all_of(await connect(engine, request_bytes)) == b""


async def test_an_idle_connection_ends_with_its_callers_half(engine: Engine) -> None:
    connection = await connect(engine, GET, then_end=False)
    async with asyncio.timeout(PATIENCE_S):
        await read_answer(connection[0])
    connection[1].write_eof()
    assert await all_of(connection) == b""
    assert (await exchange(engine, GET)).status == 200


@pytest.fixture
async def unix_path(tmp_path: Path) -> AsyncIterator[tuple[Path, asyncio.Event]]:
    """A server on a Unix socket whose one handler ends when the event is set, or is cancelled and sets it."""
    event = asyncio.Event()

    async def hold(request: web.Request) -> web.Response:
        del request
        try:
            await event.wait()
        except asyncio.CancelledError:
            event.set()
            raise
        return web.Response(text="held")

    app = web.Application()
    app.router.add_get("/", hold)
    runner = ApiRunner(app, shutdown_timeout_s=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "socket")).start()
    yield tmp_path / "socket", event
    await runner.cleanup()


async def test_on_a_unix_socket_nothing_is_written_to_find_out(unix_path: tuple[Path, asyncio.Event]) -> None:
    path, event = unix_path
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
        caller.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.6):
                await event.wait()
        assert not event.is_set(), "only its half has ended"
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()
