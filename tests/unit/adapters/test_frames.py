import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.adapters.frames import FrameReader
from supervisor.domain.errors import ExecutionFault


def frame(data: bytes, channel: int = 1) -> bytes:
    return bytes([channel, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def reader(data: bytes, budget: int = 10**6) -> FrameReader:
    stream = asyncio.StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    return FrameReader(stream, budget)


async def lines_of(source: FrameReader) -> list[bytes]:
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
        return await lines_of(reader(b"".join(frame(piece) for piece in pieces)))

    assert asyncio.run(read()) == lines


async def test_arrival_times_never_go_back() -> None:
    source = reader(frame(b"a\nb\n") + frame(b"c\n"))
    times = [line[1] for _ in range(3) if (line := await source.next_line())]
    assert times == sorted(times)


async def test_stderr_is_kept_apart_and_bounded() -> None:
    source = reader(frame(b"x" * 9000, 2) + frame(b"out\n") + frame(b"end", 2))
    assert await lines_of(source) == [b"out"]
    assert source.stderr_tail.endswith(b"end")
    assert len(source.stderr_tail) == 4096


@pytest.mark.parametrize("channel", [1, 2])
async def test_a_flood_ends_at_the_budget(channel: int) -> None:
    with pytest.raises(ExecutionFault) as caught:
        await lines_of(reader(frame(b"a\n" * 600, channel), budget=1000))
    assert caught.value.code == "output_limit_exceeded"


@pytest.mark.parametrize("flood", [frame(b"a\nb\n" + b"x" * 20_000), frame(b"a\nb\n") + frame(b"x" * 2000)])
async def test_what_was_whole_before_a_flood_is_read_first(flood: bytes) -> None:
    source = reader(flood, budget=1000 if len(flood) < 20_000 else 10**6)
    for expected in (b"a", b"b"):
        line = await source.next_line()
        assert line is not None
        assert line[0] == expected
    for _ in range(2):
        with pytest.raises(ExecutionFault):
            await source.next_line()


async def test_a_frame_that_claims_gigabytes_is_refused_unread() -> None:
    with pytest.raises(ExecutionFault):
        await lines_of(reader(bytes([1, 0, 0, 0]) + b"\xff\xff\xff\xff"))


async def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(ExecutionFault) as caught:
        await lines_of(reader(frame(b"a" * 17_000)))
    assert caught.value.code == "runner_failed"


async def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(ExecutionFault):
        await lines_of(reader(frame(b"a\n", 3)))


async def test_a_line_is_handed_on_before_its_frame_has_ended() -> None:
    line = await reader(frame(b"first\n" + b"x" * 90_000)[:20]).next_line()
    assert line is not None
    assert line[0] == b"first"


async def test_a_frame_of_nothing_but_line_ends_is_not_kept_as_lines() -> None:
    source = reader(frame(b"\n" * 1_000_000))
    tracemalloc.start()
    try:
        assert await source.next_line() is not None
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16_000_000


@pytest.mark.parametrize("cut", [b"\x01\x00", frame(b"abc\n")[:-2]])
async def test_a_stream_cut_short_is_an_end(cut: bytes) -> None:
    assert await lines_of(reader(cut)) == []
