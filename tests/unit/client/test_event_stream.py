import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.client.event_stream import EventParser, StreamEvent, parse_events

STREAM = b': waiting\n\nevent: started\ndata: {"id": 1}\n\nevent: done\ndata: {}\n\n'


def lines_of(stream: bytes) -> list[bytes]:
    return stream.splitlines(keepends=True)


def test_events_come_in_order_and_comments_are_ignored() -> None:
    assert list(parse_events(lines_of(STREAM))) == [StreamEvent("started", {"id": 1}), StreamEvent("done", {})]


def test_the_end_of_a_line_does_not_matter() -> None:
    expected = list(parse_events(lines_of(STREAM)))
    assert list(parse_events(STREAM.splitlines())) == expected
    assert list(parse_events(lines_of(STREAM.replace(b"\n", b"\r\n")))) == expected


def test_an_event_is_complete_at_the_empty_line_and_not_before() -> None:
    parser = EventParser()
    assert parser.take(b"event: token\n") is None
    assert parser.take(b"data: {}\n") is None
    assert parser.take(b"\n") == StreamEvent("token", {})
    assert parser.take(b"\n") is None


def test_an_event_that_breaks_off_is_not_returned() -> None:
    assert list(parse_events([b"event: token", b'data: {"text": "x"}'])) == []


def test_a_name_without_data_is_no_event_and_names_no_later_one() -> None:
    assert list(parse_events([b"event: token", b"", b"data: {}", b""])) == [StreamEvent("", {})]


def test_unknown_fields_are_ignored() -> None:
    assert list(parse_events([b"id: 1", b"retry: 5", b"event: done", b"data: {}", b""])) == [StreamEvent("done", {})]


def test_data_may_span_lines_and_lack_the_space() -> None:
    assert list(parse_events([b"event:done", b'data:{"a":', b"data: 1}", b""])) == [StreamEvent("done", {"a": 1})]


@given(st.text())
def test_a_separator_within_the_text_does_not_end_the_line(text: str) -> None:
    encoded = StreamEvent("token", {"text": text})
    escaped = "".join(c if c not in '"\\' and c >= " " else f"\\u{ord(c):04x}" for c in text)
    stream = f'event: token\ndata: {{"text":"{escaped}"}}\n\n'.encode()
    assert list(parse_events(lines_of(stream))) == [encoded]


@pytest.mark.parametrize("line", [b"data: {", b"data: \xff", b"data: "])
def test_data_that_is_not_json_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(parse_events([line, b""]))
