"""The API: one list of operations, from which the routes and the OpenAPI document are both built."""

from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from contracts.api.ledger_operations import LEDGER_OPERATIONS
from contracts.api.openai.errors import OpenAiErrorAnswer, codes_of, status_of
from contracts.api.openai.operations import OPENAI_OPERATIONS
from contracts.api.operation import EXECUTION_ID, Operation, Parameter, Shape
from contracts.api.problem import PROBLEM_CODES, Problem
from contracts.api.run_operations import EVENT_STREAM, RUN_OPERATIONS
from contracts.wire.document import Contract
from contracts.wire.envelope import Envelope

__all__ = ["OPERATIONS", "RECORD_TYPE", "build_openapi"]

API_VERSION = "1.0.0"
JSON = "application/json"
RECORD_TYPE = "application/vnd.in-toto+json"
PROBLEM_TYPE = "application/problem+json"
SCHEME = "token"
REFERENCE = "#/components/schemas/{model}"
# `bad_header` is also the answer to bytes that are not an HTTP/1.1 request.
_ALWAYS = (
    "bad_header",
    "unauthorized",
    "host_not_allowed",
    "permission_missing",
    "limit_reached",
    "expectation_failed",
    "internal_error",
    "not_implemented",
)
# What only a caller with a token is told.
_OF_TOKENS = {"unauthorized", "permission_missing", "limit_reached"}

OPERATIONS = (*RUN_OPERATIONS, *LEDGER_OPERATIONS, *OPENAI_OPERATIONS)


def _links(pointer: str) -> dict[str, Any]:
    parameters = {EXECUTION_ID.name: f"$response.body#{pointer}"}
    return {
        other.operation_id: {"operationId": other.operation_id, "parameters": parameters}
        for other in OPERATIONS
        if EXECUTION_ID in other.parameters
    }


def _event_schema(operation: Operation) -> dict[str, Any]:
    """Return the schema of one event; OpenAPI 3.1 cannot describe the items of a stream (3.2: `itemSchema`)."""
    data_of: list[tuple[str, dict[str, Any]]] = [
        (
            name,
            {
                "type": "string",
                "contentMediaType": JSON,
                "contentSchema": {"$ref": REFERENCE.format(model=model.__name__)},
            },
        )
        for name, model in operation.events.items()
    ]
    if operation.last_data is not None:
        data_of.append(("message", {"const": operation.last_data}))
    return {
        "description": "One event of the stream. An event without a name is a `message`.",
        "oneOf": [
            {
                "type": "object",
                "required": ["event", "data"],
                "properties": {"event": {"const": name}, "data": data},
            }
            for name, data in data_of
        ],
    }


def _content(operation: Operation, model: type[Contract] | None, status: int) -> dict[str, Any]:
    if model is None:
        kind = "object" if operation.media_type == JSON else "string"
        return {operation.media_type: {"schema": {"type": kind}}}
    media_type = RECORD_TYPE if model is Envelope else JSON
    content: dict[str, Any] = {media_type: {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}}
    if operation.events and status == HTTPStatus.OK:
        content[EVENT_STREAM] = {"schema": _event_schema(operation)}
    return content


def _error_responses(codes: tuple[str, ...], shape: Shape) -> dict[str, Any]:
    by_status: dict[int, set[str]] = {}
    for code in codes:
        if shape == "openai":
            by_status.setdefault(status_of(code), set()).update(codes_of(code))
        else:
            by_status.setdefault(PROBLEM_CODES[code][0], set()).add(code)
    problem = {PROBLEM_TYPE: {"schema": {"$ref": REFERENCE.format(model=Problem.__name__)}}}
    answer = {JSON: {"schema": {"$ref": REFERENCE.format(model=OpenAiErrorAnswer.__name__)}}}
    responses: dict[str, Any] = {}
    for status, names in sorted(by_status.items()):
        content = problem if shape == "problem" else answer
        if shape == "openai" and status == HTTPStatus.BAD_REQUEST:
            # Bytes that are not HTTP have no path yet.
            content = {**answer, **problem}
        description = "`code`: " + ", ".join(f"`{code}`" for code in sorted(names))
        responses[str(status)] = {"description": description, "content": content}
    return responses


def _parameter(parameter: Parameter) -> dict[str, Any]:
    document = {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    return document if parameter.example is None else {**document, "example": parameter.example}


def _operation(operation: Operation) -> dict[str, Any]:
    always = [code for code in _ALWAYS if operation.permission is not None or code not in _OF_TOKENS]
    responses = _error_responses((*always, *operation.problems), operation.shape)
    for status, (description, model) in operation.responses.items():
        answer = {"description": description, "content": _content(operation, model, status)}
        if operation.names_execution is not None and operation.names_execution[0] == status:
            answer["links"] = _links(operation.names_execution[1])
        responses[str(status)] = answer
    document: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "description": operation.description,
        "responses": dict(sorted(responses.items())),
        # OpenAPI 3.1 lists here the roles that a caller needs: our permissions.
        "security": [] if operation.permission is None else [{SCHEME: [operation.permission]}],
    }
    if operation.parameters:
        document["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.request is not None:
        reference = {"$ref": REFERENCE.format(model=operation.request.__name__)}
        document["requestBody"] = {"required": True, "content": {JSON: {"schema": reference}}}
    return document


def build_openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the API."""
    models: set[type[Contract]] = {OpenAiErrorAnswer, Problem}
    for operation in OPERATIONS:
        models.update(model for _, model in operation.responses.values() if model is not None)
        models.update(operation.events.values())
        if operation.request is not None:
            models.add(operation.request)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=REFERENCE)
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WeOS execution engine",
            "version": API_VERSION,
            "description": "Executes each Run Request once, in its own sandbox, measures it from outside and signs a "
            "record. Every call requires a bearer token, except a challenge.",
        },
        "servers": [{"url": "http://127.0.0.1:8642", "description": "Loopback only."}],
        "security": [{SCHEME: []}],
        "paths": paths,
        "components": {
            "securitySchemes": {SCHEME: {"type": "http", "scheme": "bearer"}},
            "schemas": schemas["$defs"],
        },
    }
