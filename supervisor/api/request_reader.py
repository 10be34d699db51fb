"""What the HTTP API reads of a request: its token, body, headers, path and query, each checked before use."""

import asyncio
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from contracts.api.openapi import OPERATIONS
from contracts.api.operation import EXECUTION_ID, Parameter
from contracts.api.run_operations import ACCEPT, IDEMPOTENCY_KEY, PREFER, RESPOND_ASYNC
from contracts.wire.document import Contract
from supervisor.api.expectations import send_continue
from supervisor.api.negotiation import has_preference, is_json, is_uncoded, prefers_events
from supervisor.domain.access.caller import Caller
from supervisor.domain.access.ports import CallersPort
from supervisor.domain.errors import Refusal

__all__ = [
    "Query",
    "find_caller",
    "read_document",
    "read_execution_id",
    "read_idempotency_key",
    "wants_events",
    "wants_no_wait",
]

_Document = TypeVar("_Document", bound=Contract)
_QUERY_PARAMETERS = {
    operation.operation_id: {each.name: each for each in operation.parameters if each.where == "query"}
    for operation in OPERATIONS
}


def find_caller(header: str | None, callers: CallersPort) -> Caller | None:
    """Return whose token an Authorization header carries."""
    scheme, _, given = (header or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return callers.find(given.strip().encode("utf-8", "surrogateescape"))


async def read_document(request: web.Request, model: type[_Document], deadline_s: float) -> _Document:
    """Return the document in the body.

    Raises:
        Refusal: the body has another media type, is encoded, or did not arrive whole and in time.
        ContractError: the body is not such a document.
        HTTPRequestEntityTooLarge: the body is larger than any such document.
    """
    if not is_json(request.headers.getall("Content-Type", [])):
        raise Refusal("unsupported_media_type", "send the request with 'Content-Type: application/json', in UTF-8")
    if not is_uncoded(request.headers.getall("Content-Encoding", [])):
        raise Refusal("unsupported_media_type", "send the body without Content-Encoding")
    if (request.content_length or 0) > model.MAX_BYTES:
        raise web.HTTPRequestEntityTooLarge(model.MAX_BYTES, request.content_length or 0)
    try:
        async with asyncio.timeout(deadline_s):
            await send_continue(request)
            body = await request.read()
    except TimeoutError as error:
        raise Refusal("malformed_json", f"the body did not arrive within {deadline_s:g} s") from error
    except (web.RequestPayloadError, BadHttpMessage) as error:
        raise Refusal("malformed_json", "the body is incomplete, or its chunks are malformed") from error
    return model.parse(body)


class Query:
    """The query parameters of a request, read as its operation describes them."""

    def __init__(self, request: web.Request, operation_id: str) -> None:
        """Check the names.

        Args:
            request: the request.
            operation_id: of the operation in `contracts.api`.

        Raises:
            Refusal: a parameter is unknown to the operation, or is repeated.
        """
        self._parameters = _QUERY_PARAMETERS[operation_id]
        self._values = dict(request.query)
        if set(self._values) - set(self._parameters) or len(self._values) < len(request.query):
            names = ", ".join(f"`{name}`" for name in self._parameters)
            raise Refusal("bad_parameter", f"the query takes {names}, each once", field="query")

    def text(self, name: str) -> str | None:
        """Return a parameter, its default where it is absent, or None where it has no default.

        Raises:
            Refusal: it is required and absent, or its schema does not allow it.
        """
        parameter = self._parameters[name]
        value = self._values.get(name)
        if value is None and not parameter.required:
            default = parameter.schema.get("default")
            return None if default is None else str(default)
        if value is None or not parameter.allows(value):
            raise _refuse(parameter)
        return value

    def number(self, name: str) -> int:
        """Return an integer parameter that is required or has a default.

        Raises:
            Refusal: it is required and absent, or its schema does not allow it.
        """
        value = self.text(name)
        if value is None:
            message = f"`{name}` is optional and has no default"
            raise LookupError(message)
        return int(value)


def _refuse(parameter: Parameter) -> Refusal:
    code = "bad_header" if parameter.where == "header" else "bad_parameter"
    return Refusal(code, f"`{parameter.name}` must be {parameter.requirement()}", field=parameter.name)


def read_idempotency_key(request: web.Request) -> str | None:
    """Return the Idempotency-Key, None where there is none.

    Raises:
        Refusal: there are several, or it is not well-formed.
    """
    keys = request.headers.getall(IDEMPOTENCY_KEY.name, [])
    if len(keys) > 1:
        raise Refusal("bad_header", f"send one {IDEMPOTENCY_KEY.name}", field=IDEMPOTENCY_KEY.name)
    if keys and not IDEMPOTENCY_KEY.allows(keys[0]):
        raise _refuse(IDEMPOTENCY_KEY)
    return keys[0] if keys else None


def wants_no_wait(request: web.Request) -> bool:
    """Return whether the caller prefers `respond-async` (RFC 7240)."""
    return has_preference(request.headers.getall(PREFER.name, []), RESPOND_ASYNC)


def wants_events(request: web.Request) -> bool:
    """Return whether the caller asks for server-sent events rather than for one document."""
    return prefers_events(request.headers.getall(ACCEPT.name, []))


def read_execution_id(request: web.Request) -> str:
    """Return the execution_id of the path.

    Raises:
        Refusal: it is not well-formed.
    """
    execution_id = request.match_info[EXECUTION_ID.name]
    if not EXECUTION_ID.allows(execution_id):
        raise _refuse(EXECUTION_ID)
    return execution_id
