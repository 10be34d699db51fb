"""What is required of a head, by RFC 9110 and 9112."""

from dataclasses import replace

import pytest

from supervisor.api.head import Head, judge_head

SOUND = Head("GET", "/v1/version", (1, 1), hosts=("localhost",))


def judged(**changes: object) -> str | None:
    problem = judge_head(replace(SOUND, **changes))  # type: ignore[arg-type] # fields of the table
    return None if problem is None else problem.code


@pytest.mark.parametrize(
    ("target", "hosts", "code"),
    [
        ("/", ("localhost",), None),
        ("/", ("[::1]:",), None),
        ("*", ("127.0.0.1:8642",), None),
        ("/", (), "bad_header"),
        ("/", ("localhost", "localhost"), "bad_header"),
        ("/", ("user@localhost",), "bad_header"),
        ("/", ("localhost:123456",), "bad_header"),
        ("/", ("localhost:x",), "bad_header"),
        ("/", ("localhost, localhost",), "bad_header"),
        ("/", ("::1",), "bad_header"),
        ("/", ("",), "host_not_allowed"),
        ("/", ("example.org",), "host_not_allowed"),
        ("/", ("localhost.",), "host_not_allowed"),
        ("/http://localhost/", ("example.org",), "host_not_allowed"),
        # The target's host counts, and the header is only checked for its form.
        ("http://localhost/", ("example.org",), None),
        ("http://LOCALHOST:1?x", ("example.org",), None),
        ("http://example.org/", ("localhost",), "host_not_allowed"),
        ("http://localhost@example.org/", ("localhost",), "host_not_allowed"),
        ("http:///", ("localhost",), "host_not_allowed"),
        ("http://localhost/", (), "bad_header"),
        ("https://localhost/", ("localhost",), "bad_header"),
    ],
)
def test_the_host_must_be_this_machine(target: str, hosts: tuple[str, ...], code: str | None) -> None:
    assert judged(target=target, hosts=hosts) == code


def test_http_1_0_may_have_no_host_but_is_not_served_without() -> None:
    assert judged(version=(1, 0), hosts=()) == "host_not_allowed"
    assert judged(version=(1, 0)) is None


@pytest.mark.parametrize(
    ("codings", "code"),
    [
        ((), None),
        (("chunked",), None),
        ((" , Chunked",), None),
        (("",), "bad_header"),
        (("gzip",), "bad_header"),
        (("chunked, gzip",), "bad_header"),
        (("chunked, chunked",), "bad_header"),
        (("chunked;x=1",), "bad_header"),
        (("gzip, chunked",), "not_implemented"),
        (("gzip", "chunked"), "not_implemented"),
        (("identity, chunked",), "not_implemented"),
        (('x;a=", chunked"',), "bad_header"),
    ],
)
def test_a_body_is_framed_by_chunked_alone(codings: tuple[str, ...], code: str | None) -> None:
    assert judged(codings=codings) == code
    assert judged(codings=codings, version=(1, 0)) == ("bad_header" if codings else None)


@pytest.mark.parametrize(
    ("expectations", "code"),
    [
        ((), None),
        (("100-continue",), None),
        (("100-Continue", "100-continue"), None),
        (("100-continue, x",), "expectation_failed"),
        (("x",), "expectation_failed"),
    ],
)
def test_one_expectation_is_known(expectations: tuple[str, ...], code: str | None) -> None:
    assert judged(expectations=expectations) == code


@pytest.mark.parametrize("version", [(0, 9), (2, 0), (9, 9)])
def test_another_major_version_is_refused(version: tuple[int, int]) -> None:
    assert judged(version=version) == "bad_header"


@pytest.mark.parametrize("method", ["CONNECT", "PROPFIND", "get"])
def test_a_method_that_is_not_known_is_not_implemented(method: str) -> None:
    assert judged(method=method) == "not_implemented"


def test_two_tokens_are_one_too_many() -> None:
    assert judged(authorizations=("Bearer a", "Bearer a")) == "bad_header"
