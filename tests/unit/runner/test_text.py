from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runner.text import TextStream

# Few letters, one of three bytes and one of four: stop sequences and split characters then occur often.
ALPHABET = "ab\u20ac\U0001f600"
TEXTS = st.text(ALPHABET, max_size=30)
STOPS = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(bounds)]


def streamed(stream: TextStream, chunks: list[bytes]) -> str:
    text = ""
    for chunk in chunks:
        text += stream.feed(chunk)
        if stream.stopped:
            return text
    return text + stream.finish()


def expected(text: str, stops: list[str]) -> str:
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(len(stop) for stop in ending)]
    return text


@given(TEXTS, STOPS, st.lists(st.integers(0, 200), max_size=12))
def test_text_is_the_same_however_its_bytes_are_cut(text: str, stops: list[str], places: list[int]) -> None:
    stream = TextStream(stops)
    assert streamed(stream, cut(text.encode(), places)) == expected(text, stops)
    assert stream.stopped == any(stop in text for stop in stops)


@given(st.binary(max_size=40), st.lists(st.integers(0, 200), max_size=12))
def test_any_bytes_become_the_text_that_decoding_them_whole_gives(data: bytes, places: list[int]) -> None:
    assert streamed(TextStream([]), cut(data, places)) == data.decode("utf-8", "replace")


def test_bytes_of_a_character_are_held_until_it_is_whole() -> None:
    stream = TextStream([])
    assert [stream.feed(byte) for byte in (b"\xe2", b"\x82", b"\xac")] == ["", "", "\u20ac"]


def test_half_a_character_at_the_end_becomes_the_replacement_character() -> None:
    stream = TextStream([])
    assert stream.feed(b"a\xe2\x82") == "a"
    assert stream.finish() == "\ufffd"


def test_a_possible_stop_sequence_is_held_and_given_back_when_it_is_none() -> None:
    stream = TextStream(["END"])
    assert [stream.feed(piece) for piece in (b"xE", b"N", b"E")] == ["x", "", "EN"]
    assert stream.finish() == "E"
    assert not stream.stopped


def test_a_stop_sequence_is_cut_out_with_all_that_follows_it() -> None:
    stream = TextStream(["END"])
    assert stream.feed(b"one EN") == "one "
    assert stream.feed(b"D two") == ""
    assert stream.stopped
    assert stream.feed(b"more") == ""
    assert stream.finish() == ""


def test_the_stop_sequence_complete_first_wins_and_then_the_longest() -> None:
    assert TextStream(["abcd", "bc"]).feed(b"abcd") == "a"
    assert TextStream(["c", "abc"]).feed(b"xabc") == "x"


def test_a_stop_sequence_completed_by_the_last_broken_character_still_stops() -> None:
    stream = TextStream(["\ufffd"])
    assert stream.feed(b"a\xe2") == "a"
    assert stream.finish() == ""
    assert stream.stopped
