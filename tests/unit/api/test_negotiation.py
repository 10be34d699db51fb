"""What header fields ask for, by RFC 9110 and RFC 7240."""

import pytest

from supervisor.api.negotiation import has_preference, is_json, is_uncoded, prefers_events, split_elements

ACCEPT = [
    # No header, and wildcards alone: JSON, which every client reads.
    ([], False),
    ([""], False),
    (["*/*"], False),
    (["*/*;q=0.1"], False),
    (["application/*"], False),
    (["application/json"], False),
    # The stream by its name, or as the only acceptable one.
    (["text/event-stream"], True),
    (["TEXT/Event-Stream"], True),
    (["text/event-stream, */*"], True),
    (["*/*, text/event-stream"], True),
    (["text/*"], True),
    (["text/event-stream;q=0.001"], True),
    (["application/json, text/event-stream"], True),
    (["application/json", "text/event-stream"], True),
    # Weights.
    (["text/event-stream;q=0, application/json"], False),
    (["text/event-stream;q=0"], False),
    (["text/event-stream;q=0.0"], False),
    (["text/event-stream; Q=0.000, */*"], False),
    (["text/event-stream;q=0.5, application/json"], False),
    (["text/event-stream;q=0.5, application/json;q=0.4"], True),
    (["text/event-stream;q=0.5, */*"], False),
    (["text/event-stream;q=0.5, */*;q=0.4"], True),
    (["text/html, text/event-stream;q=0.9"], True),
    (["application/json;q=0, */*"], True),
    (["application/json;q=0"], False),
    (["*/*;q=0"], False),
    (["text/event-stream;q=1.000, application/json;q=0.999"], True),
    # The closest range counts, wherever it stands.
    (["text/*, text/event-stream;q=0"], False),
    (["text/*;q=0, text/event-stream"], True),
    (["text/*;q=0.3, */*;q=0.2"], True),
    (["text/*, */*"], False),
    (["text/event-stream;q=0.1, text/event-stream;charset=utf-8"], True),
    # Parameters: the charset of every document here is UTF-8, and no other parameter has a meaning.
    (["text/event-stream;charset=UTF-8"], True),
    (['text/event-stream;charset="utf-8"'], True),
    (["text/event-stream;q=0.9;charset=utf-8"], True),
    (["text/event-stream;charset=latin-1"], False),
    (["text/event-stream;level=1"], False),
    (["text/event-stream;"], True),
    (["text/event-stream ; q=0.5 , application/json ; q=0.4"], True),
    # Quoted commas and semicolons divide nothing.
    (['text/html;x=", text/event-stream"'], False),
    (['text/html;x="a;q=0, b", text/event-stream'], True),
    (['text/html;x="\\", text/event-stream'], False),
    # Malformed elements are passed over, the others are read.
    (["text/event-stream;q=2"], False),
    (["text/event-stream;q=-1"], False),
    (["text/event-stream;q="], False),
    (["text/event-stream;q=.5"], False),
    (["text/event-stream;q=0.1234"], False),
    (["text/event-stream;q=1.001"], False),
    (["text/event-stream;q=1;q=0"], False),
    (["text/event-stream;q = 1"], False),
    (["text/event-stream/x"], False),
    (["text /event-stream"], False),
    (["*/event-stream"], False),
    (["text"], False),
    (["event-stream"], False),
    (["text/event-stream application/json"], False),
    ([",,text/event-stream,,"], True),
    (["text, text/event-stream"], True),
]


@pytest.mark.parametrize(("fields", "streams"), ACCEPT)
def test_what_is_accepted_decides_between_stream_and_document(fields: list[str], streams: bool) -> None:
    assert prefers_events(fields) is streams


@pytest.mark.parametrize(
    ("fields", "has"),
    [
        ([], False),
        (["respond-async"], True),
        (["Respond-Async"], True),
        (["wait=10, respond-async"], True),
        (["return=minimal", "respond-async; x=y"], True),
        (['respond-async=""'], True),
        (["respond-async=false"], False),
        (["respond-async = no"], False),
        (['foo="x, respond-async"'], False),
        (["respond-asynchronously"], False),
        (["; respond-async"], False),
        (["respond async"], False),
    ],
)
def test_a_preference_is_there_by_its_name_without_a_value(fields: list[str], has: bool) -> None:
    assert has_preference(fields, "respond-async") is has


@pytest.mark.parametrize(
    ("fields", "is_it"),
    [
        ([], False),
        ([""], False),
        (["application/json"], True),
        (["APPLICATION/JSON;CHARSET=UTF-8"], True),
        (['application/json; charset="utf\\-8"'], True),
        (["application/json; charset=utf-16"], False),
        (["application/json; charset"], False),
        (["application/json; =utf-8"], False),
        (["application/json, application/json"], False),
        (["application/json", "application/json"], False),
        (["application/jsonl"], False),
        (["text/json"], False),
        ([";application/json"], False),
        ([";"], False),
    ],
)
def test_one_field_says_json(fields: list[str], is_it: bool) -> None:
    assert is_json(fields) is is_it


@pytest.mark.parametrize(
    ("fields", "is_it"),
    [([], True), (["identity"], True), ([" , Identity"], True), (["gzip"], False), (["identity", "br"], False)],
)
def test_identity_is_no_coding(fields: list[str], is_it: bool) -> None:
    assert is_uncoded(fields) is is_it


@pytest.mark.parametrize("field", ['"' * 4096, '"\\' * 2048, '\\"' * 2048, ";" * 4096, "a/b;" + 'x="' * 1364])
def test_a_hostile_field_is_read_in_one_pass(field: str) -> None:
    # With a pattern that backtracks this takes hours.
    assert prefers_events([field] * 64) is False
    assert sum(map(len, split_elements([field]))) <= len(field)
