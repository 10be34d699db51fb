"""What the HTTP API reads of a request: its host, token, body, headers and path, each checked before it counts."""

import asyncio
import hmac
import re
from collections.abc import Mapping

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from contracts.api.operation import EXECUTION_ID
from contracts.api.run_operations import IDEMPOTENCY_KEY
from contracts.execution.run_request import RunRequest
from supervisor.domain.caller import Caller
from supervisor.domain.errors import Refusal

__all__ = [
    "find_caller",
    "host_is_local",
    "read_execution_id",
    "read_idempotency_key",
    "read_run_request",
    "wants_events",
    "wants_no_wait",
]

ALLOWED_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


def host_is_local(host: str) -> bool:
    """Tell whether a Host header names this machine; a page elsewhere that rebinds its name fails here."""
    name = re.sub(r":[0-9]{1,5}\Z", "", host.lower())
    return name in ALLOWED_HOSTS


def find_caller(header: str | None, tokens: Mapping[Caller, str]) -> Caller | None:
    """Return whose token an Authorization header carries, in a time that tells neither whose nor how much of it."""
    scheme, _, given = (header or "").partition(" ")
    shown = given.strip().encode("utf-8", "surrogateescape")
    found: Caller | None = None
    for caller, token in tokens.items():
        if hmac.compare_digest(shown, token.encode("utf-8")):
            found = caller
    return found if scheme.lower() == "bearer" else None


async def read_run_request(request: web.Request, deadline_s: float) -> RunRequest:
    """Return the body.

    Raises:
        Refusal: it is of another media type, is coded, or did not arrive whole and in time.
        ContractError: it is not a Run Request.
        HTTPRequestEntityTooLarge: it is larger than any Run Request.
    """
    if request.content_type != "application/json":
        raise Refusal("unsupported_media_type", "send the request with 'Content-Type: application/json'")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refusal("unsupported_media_type", "send the body without Content-Encoding")
    if (request.content_length or 0) > RunRequest.MAX_BYTES:
        raise web.HTTPRequestEntityTooLarge(RunRequest.MAX_BYTES, request.content_length or 0)
    try:
        async with asyncio.timeout(deadline_s):
            body = await request.read()
    except TimeoutError as error:
        raise Refusal("malformed_json", f"the body did not arrive within {deadline_s:g} s") from error
    except (web.RequestPayloadError, BadHttpMessage) as error:
        raise Refusal("malformed_json", "the body is cut short, or its chunks are not well-formed") from error
    return RunRequest.parse(body)


def read_idempotency_key(request: web.Request) -> str | None:
    """Return the Idempotency-Key.

    Raises:
        Refusal: there are several, or it is not well-formed.
    """
    keys = request.headers.getall("Idempotency-Key", [])
    if len(keys) > 1 or not all(re.fullmatch(IDEMPOTENCY_KEY.schema["pattern"], key) for key in keys):
        detail = "send one Idempotency-Key, of 1 to 128 printable ASCII characters without spaces"
        raise Refusal("bad_header", detail, field="Idempotency-Key")
    return keys[0] if keys else None


def wants_no_wait(request: web.Request) -> bool:
    """Tell whether the caller prefers `respond-async` (RFC 7240)."""
    preferences = ",".join(request.headers.getall("Prefer", [])).lower()
    return any(part.partition(";")[0].strip() == "respond-async" for part in preferences.split(","))


def wants_events(request: web.Request) -> bool:
    """Tell whether the caller accepts server-sent events; naming them is enough, whatever their weight."""
    accepted = ",".join(request.headers.getall("Accept", [])).lower()
    return any(part.partition(";")[0].strip() == "text/event-stream" for part in accepted.split(","))


def read_execution_id(request: web.Request) -> str:
    """Return the execution_id of the path.

    Raises:
        Refusal: it is none.
    """
    execution_id = request.match_info["execution_id"]
    if not re.fullmatch(EXECUTION_ID.schema["pattern"], execution_id):
        raise Refusal("bad_parameter", "an execution_id is 'exec_' and 32 hexadecimal digits", field="execution_id")
    return execution_id
