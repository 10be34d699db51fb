import asyncio
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.adapters.docker.frames import AttachedStream
from supervisor.domain.errors import ExecutionFault


def frame(data: bytes, channel: int = 1) -> bytes:
    return bytes([channel, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@asynccontextmanager
async def attached(data: bytes, budget: int = 10**6) -> AsyncIterator[AttachedStream]:
    """A stream whose other side writes this and closes."""
    stream = AttachedStream(budget)
    async with connected(stream) as engine:
        writing = asyncio.create_task(write(engine, data))
        yield stream
        writing.cancel()


@asynccontextmanager
async def connected(stream: AttachedStream) -> AsyncIterator[socket.socket]:
    ours, engine = socket.socketpair()
    ours.setblocking(False)
    engine.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: stream, sock=ours)
    try:
        yield engine
    finally:
        stream.abort()
        engine.close()


async def write(engine: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(engine, data)
    engine.shutdown(socket.SHUT_WR)


async def lines_of(source: AttachedStream) -> list[bytes]:
    lines = []
    while (line := await source.next_line()) is not None:
        lines.append(line[0])
    return lines


@given(st.lists(st.binary(max_size=50).filter(lambda data: b"\n" not in data), max_size=10), st.data())
def test_lines_survive_any_cut_into_frames(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def read() -> list[bytes]:
        async with attached(b"".join(frame(piece) for piece in pieces)) as source:
            return await lines_of(source)

    assert asyncio.run(read()) == lines


async def test_arrival_times_never_go_back() -> None:
    async with attached(frame(b"a\nb\n") + frame(b"c\n")) as source:
        times = [line[1] for _ in range(3) if (line := await source.next_line())]
    assert len(times) == 3
    assert times == sorted(times)


async def test_stderr_is_kept_apart_and_bounded() -> None:
    async with attached(frame(b"x" * 9000, 2) + frame(b"out\n") + frame(b"end", 2)) as source:
        assert await lines_of(source) == [b"out"]
    assert source.stderr_tail.endswith(b"end")
    assert len(source.stderr_tail) == 4096


@pytest.mark.parametrize("channel", [1, 2])
async def test_a_flood_ends_at_the_budget(channel: int) -> None:
    async with attached(frame(b"a\n" * 600, channel), budget=1000) as source:
        with pytest.raises(ExecutionFault) as caught:
            await lines_of(source)
    assert caught.value.code == "output_limit_exceeded"


@pytest.mark.parametrize("flood", [frame(b"a\nb\n" + b"x" * 20_000), frame(b"a\nb\n") + frame(b"x" * 2000)])
async def test_what_was_whole_before_a_flood_is_read_first(flood: bytes) -> None:
    async with attached(flood, budget=1000 if len(flood) < 20_000 else 10**6) as source:
        for expected in (b"a", b"b"):
            line = await source.next_line()
            assert line is not None
            assert line[0] == expected
        for _ in range(2):
            with pytest.raises(ExecutionFault):
                await source.next_line()


async def test_a_frame_that_claims_gigabytes_is_refused_unread() -> None:
    async with attached(bytes([1, 0, 0, 0]) + b"\xff\xff\xff\xff") as source:
        with pytest.raises(ExecutionFault):
            await lines_of(source)


async def test_a_line_without_an_end_is_refused() -> None:
    async with attached(frame(b"a" * 17_000)) as source:
        with pytest.raises(ExecutionFault) as caught:
            await lines_of(source)
    assert caught.value.code == "runner_failed"


async def test_an_unknown_stream_is_refused() -> None:
    async with attached(frame(b"a\n", 3)) as source:
        with pytest.raises(ExecutionFault):
            await lines_of(source)


async def test_a_line_is_handed_on_before_its_frame_has_ended() -> None:
    async with attached(frame(b"first\n" + b"x" * 90_000)[:20]) as source:
        line = await source.next_line()
    assert line is not None
    assert line[0] == b"first"


async def test_a_frame_of_nothing_but_line_ends_is_not_kept_as_lines() -> None:
    async with attached(frame(b"\n" * 1_000_000)) as source:
        tracemalloc.start()
        try:
            assert await source.next_line() is not None
            await asyncio.sleep(0.1)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 16_000_000


@pytest.mark.parametrize("cut", [b"\x01\x00", frame(b"abc\n")[:-2]])
async def test_a_stream_cut_short_is_an_end(cut: bytes) -> None:
    async with attached(cut) as source:
        assert await lines_of(source) == []


async def test_every_line_goes_where_somebody_listens_until_one_is_the_last() -> None:
    heard: list[bytes] = []

    def take(line: bytes, at_ns: int) -> bool:
        assert at_ns > 0
        heard.append(line)
        return line == b"last"

    async with attached(frame(b"a\nb\n") + frame(b"last\nafter\n")) as source:
        assert await source.listen(take)
        assert heard == [b"a", b"b", b"last"]
        assert await lines_of(source) == [b"after"]


async def test_an_end_before_the_last_line_is_told() -> None:
    async with attached(frame(b"a\n")) as source:
        assert not await source.listen(lambda line, at_ns: False)


async def test_what_a_listener_raises_ends_its_listening_and_no_more() -> None:
    def refuse(line: bytes, at_ns: int) -> bool:
        raise ExecutionFault("runner_failed", "not what was wanted")

    async with attached(frame(b"a\nb\n")) as source:
        with pytest.raises(ExecutionFault, match="not what was wanted"):
            await source.listen(refuse)
        assert await lines_of(source) == [b"b"]


async def test_nothing_is_read_while_nobody_listens() -> None:
    stream = AttachedStream(10**7)
    async with connected(stream) as engine:
        with suppress(BlockingIOError):
            for _ in range(100_000):
                engine.send(frame(b"x" * 90 + b"\n"))
                await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            engine.send(b"x")
        line = await stream.next_line()
        assert line == (b"x" * 90, line[1] if line else 0)


async def test_a_listener_that_is_cancelled_leaves_the_next_line_to_the_next() -> None:
    stream = AttachedStream(1000)
    async with connected(stream) as engine:
        waiting = asyncio.create_task(stream.next_line())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        engine.send(frame(b"a\n"))
        line = await stream.next_line()
        assert line is not None
        assert line[0] == b"a"


async def test_a_line_that_comes_as_its_listener_is_cancelled_is_the_next_ones() -> None:
    stream = AttachedStream(1000)
    async with connected(stream):
        waiting = asyncio.create_task(stream.next_line())
        await asyncio.sleep(0.01)
        line = frame(b"first\nsecond\n")
        stream.get_buffer(-1)[: len(line)] = line
        stream.buffer_updated(len(line))
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        lines = [await stream.next_line() for _ in range(2)]
        assert [line[0] for line in lines if line is not None] == [b"first", b"second"]


async def test_a_write_waits_until_the_other_side_takes_it() -> None:
    stream = AttachedStream(1000)
    async with connected(stream) as engine:
        sending = asyncio.create_task(stream.send(b"x" * 5_000_000))
        await asyncio.sleep(0)
        assert not sending.done()
        taken = 0
        while taken < 5_000_000:
            taken += len(await asyncio.get_running_loop().sock_recv(engine, 1_000_000))
        await sending


async def test_a_write_to_a_side_that_has_gone_is_refused() -> None:
    stream = AttachedStream(1000)
    with pytest.raises(ConnectionError):
        await stream.send(b"x")
    async with connected(stream) as engine:
        engine.close()
        assert await stream.next_line() is None
        with suppress(ConnectionError):
            await stream.send(b"x")
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionError):
            await stream.send(b"x")


async def test_a_write_does_not_outwait_its_connection() -> None:
    stream = AttachedStream(1000)
    async with connected(stream):
        sending = asyncio.create_task(stream.send(b"x" * 5_000_000))
        await asyncio.sleep(0)
        stream.abort()
        await sending
