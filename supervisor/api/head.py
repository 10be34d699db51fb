"""What is required of a request's head before anything else is read of it (RFC 9110 and 9112). Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.api.problem import Problem
from supervisor.api.negotiation import split_elements

__all__ = ["CONTINUE", "Head", "judge_head"]

CONTINUE = "100-continue"
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Methods of RFC 9110 and RFC 5789, and QUERY. A method that a server does not know is answered otherwise than one it
# does not allow.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"})
# A name or an address, and a port that may be empty (RFC 3986, 3.2). No user before it: RFC 9110, 4.2.4.
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]*)(?::([0-9]{0,5}))?")
_ABSOLUTE = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Head:
    """The parts of a head that are judged; a field is there as often as it was sent."""

    method: str
    target: str
    version: tuple[int, int]
    hosts: Sequence[str] = ()
    authorizations: Sequence[str] = ()
    codings: Sequence[str] = ()
    expectations: Sequence[str] = ()


def judge_head(head: Head) -> Problem | None:
    """Return why the head of a request is refused, or None if it is sound."""
    if head.version[0] != 1:
        return Problem.of("bad_header", "the request must be HTTP/1.1 (RFC 9112)")
    for judge in (_judge_host, _judge_codings, _judge_expectations, _judge_fields):
        problem = judge(head)
        if problem is not None:
            return problem
    return None


def _judge_host(head: Head) -> Problem | None:
    """Check the host; this stops a web page that rebinds its name (DNS rebinding)."""
    host = "".join(head.hosts)
    # HTTP/1.0 may have none, and is then refused like another host.
    has_one = len(head.hosts) == 1 or (not head.hosts and head.version < (1, 1))
    if not has_one or not _AUTHORITY.fullmatch(host.lower()):
        return Problem.of("bad_header", "send one Host header with a name and no more than a port")
    absolute = _ABSOLUTE.match(head.target)
    if absolute is not None:
        # RFC 9112, 3.2.2: the target's host counts, and the Host header does not.
        if absolute[1].lower() != "http":
            return Problem.of("bad_header", "the target must be a path, or a URL that begins with http://")
        host = absolute[2]
    named = _AUTHORITY.fullmatch(host.lower())
    if named is None or named[1] not in _LOCAL:
        detail = "the Host header, or the host of the target, must name this machine: 127.0.0.1 or localhost"
        return Problem.of("host_not_allowed", detail)
    return None


def _judge_codings(head: Head) -> Problem | None:
    """Check how the body is framed (RFC 9112, 6.1 and 6.3)."""
    codings = [each.lower() for each in split_elements(head.codings)]
    if not head.codings:
        return None
    if head.version < (1, 1):
        return Problem.of("bad_header", "HTTP/1.0 has no Transfer-Encoding")
    if codings[-1:] != ["chunked"] or codings.count("chunked") > 1:
        return Problem.of("bad_header", "`chunked` must be the last Transfer-Encoding, and stand there once")
    if len(codings) > 1:
        return Problem.of("not_implemented", "the only supported Transfer-Encoding is `chunked`")
    return None


def _judge_expectations(head: Head) -> Problem | None:
    if any(each.lower() != CONTINUE for each in split_elements(head.expectations)):
        return Problem.of("expectation_failed", f"the only supported expectation (Expect) is {CONTINUE}")
    return None


def _judge_fields(head: Head) -> Problem | None:
    if len(head.authorizations) > 1:
        return Problem.of("bad_header", "send one Authorization header")
    if head.method not in _METHODS:
        return Problem.of("not_implemented", "a server such as this one does not know the method")
    return None
