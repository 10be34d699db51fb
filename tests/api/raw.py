"""HTTP written by hand, for what no client library would send."""

import asyncio
import contextlib
from dataclasses import dataclass

from contracts.api.problem import Problem
from tests.api.harness import PATIENCE_S, TOKEN, Engine, check_problem

HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@dataclass(frozen=True)
class RawAnswer:
    """One answer off the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self, method: str = "GET", path: str = "/v1/version") -> Problem:
        return check_problem(method, path, self.status, self.headers["content-type"], self.body)


async def exchange(engine: Engine, *parts: bytes, has_body: bool = True) -> RawAnswer:
    """Send bytes over a connection of their own and return the first answer, a last one or not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.client.port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for part in parts:
                with contextlib.suppress(ConnectionError):  # refused while we write: the answer is there to be read
                    writer.write(part)
                    await writer.drain()
                await asyncio.sleep(0)
            return await read_answer(reader, has_body=has_body)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> RawAnswer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"])) if has_body else b""
    return RawAnswer(int(status_line.split(" ")[1]), headers, body)
