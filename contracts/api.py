"""The API as data: every operation once, from which the routes and the OpenAPI document are both made."""

from typing import Any

from pydantic.json_schema import models_json_schema

from contracts.base import Contract
from contracts.envelope import Envelope
from contracts.ledger_api import LEDGER_OPERATIONS
from contracts.operation import EXECUTION_ID, Operation, Parameter
from contracts.problem import PROBLEM_CODES, Problem
from contracts.responses import (
    BackendList,
    Health,
    ModelList,
    PlanView,
    RunList,
    RunView,
    StreamStarted,
    StreamToken,
    VersionView,
)
from contracts.run_request import RunRequest

__all__ = ["IDEMPOTENCY_KEY", "OPERATIONS", "RECORD_TYPE", "build_openapi"]

API_VERSION = "1.0.0"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"
RECORD_TYPE = "application/vnd.in-toto+json"
PROBLEM_TYPE = "application/problem+json"
REFERENCE = "#/components/schemas/{model}"


PREFER = Parameter(
    "Prefer",
    "header",
    "`respond-async` answers 202 at once (RFC 7240); the execution then goes on without its caller.",
    {"type": "string"},
    example="respond-async",
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "The same key and body never execute twice: a repetition gets the first one's execution, which therefore goes on "
    "when its caller goes away.",
    {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$"},
)
ACCEPT = Parameter(
    "Accept",
    "header",
    "`text/event-stream` streams the tokens: events `started`, `token`, then `done` (a RunView) or `error` "
    "(a Problem).",
    {"type": "string"},
    example=EVENT_STREAM,
)
BEFORE = Parameter(
    "before",
    "query",
    "Only executions accepted before this one.",
    {"type": "string", "pattern": "^exec_[0-9a-f]{32}$"},
)
LIMIT = Parameter(
    "limit", "query", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
)

_BODY = ("malformed_json", "body_too_large", "unsupported_media_type", "invalid_request")
_PLANNING = (
    "unknown_model",
    "unknown_backend",
    "unknown_quantization",
    "unknown_scheduler_policy",
    "unsupported_cpu",
    "limit_out_of_range",
    "insufficient_cores",
    "insufficient_memory",
    "power_limit_unenforceable",
    "power_sensor_required",
    "engine_version_mismatch",
    "isolation_required",
    "model_index_damaged",
)
_EXECUTION = (
    "idempotency_key_reused",
    "queue_full",
    "engine_unavailable",
    "isolation_unavailable",
    "limit_unenforceable",
    "image_missing",
    "model_missing",
    "model_altered",
    "shutting_down",
    "storage_full",
    "ledger_unsound",
    "context_overflow",
    "empty_prompt",
    "time_limit_exceeded",
    "output_limit_exceeded",
    "memory_limit_exceeded",
    "power_limit_exceeded",
    "power_sensor_lost",
    "power_limit_not_restored",
    "runner_failed",
    "sandbox_failed",
    "isolation_mismatch",
    "lock_missing",
    "cancelled",
    "aborted",
)
# `bad_header` stands for whatever is no HTTP/1.1 request too.
_ALWAYS = ("bad_header", "unauthorized", "host_not_allowed", "internal_error")

_RUN_OPERATIONS = (
    Operation(
        "createRun",
        "POST",
        "/v1/runs",
        "Execute a request",
        "Validates, plans and executes one request in a fresh sandbox. Waits for the end unless told otherwise; a "
        "waiting caller without an Idempotency-Key that goes away cancels the execution.",
        {200: ("The execution completed.", RunView), 202: ("The execution was accepted.", RunView)},
        (*_BODY, *_PLANNING, *_EXECUTION),
        request=RunRequest,
        parameters=(PREFER, IDEMPOTENCY_KEY, ACCEPT),
        streams=True,
        names_execution=(202, "/execution_id"),
    ),
    Operation(
        "listRuns",
        "GET",
        "/v1/runs",
        "List executions",
        "Newest first, a page at a time.",
        {200: ("A page.", RunList)},
        ("bad_parameter", "execution_not_found", "storage_full", "ledger_unsound"),
        parameters=(BEFORE, LIMIT),
    ),
    Operation(
        "getRun",
        "GET",
        "/v1/runs/{execution_id}",
        "Show one execution",
        "As it stands now; with its metrics once it has ended.",
        {200: ("The execution.", RunView)},
        ("bad_parameter", "execution_not_found", "storage_full", "ledger_unsound"),
        parameters=(EXECUTION_ID,),
    ),
    Operation(
        "cancelRun",
        "DELETE",
        "/v1/runs/{execution_id}",
        "Cancel one execution",
        "Answers when its record is stored.",
        {200: ("The cancelled execution.", RunView)},
        ("bad_parameter", "execution_not_found", "already_finished", "storage_full", "ledger_unsound"),
        parameters=(EXECUTION_ID,),
    ),
    Operation(
        "getRecord",
        "GET",
        "/v1/runs/{execution_id}/record",
        "Get the signed record",
        "The DSSE envelope byte for byte as it is stored; `weos-engine verify` checks it offline.",
        {200: ("The envelope.", Envelope)},
        ("bad_parameter", "execution_not_found", "record_not_ready", "storage_full", "ledger_unsound"),
        parameters=(EXECUTION_ID,),
    ),
    Operation(
        "createPlan",
        "POST",
        "/v1/plans",
        "Plan a request",
        "The plan that the request would get; nothing is executed or recorded.",
        {200: ("The plan.", PlanView)},
        (*_BODY, *_PLANNING, "image_missing"),
        request=RunRequest,
    ),
    Operation(
        "listBackends",
        "GET",
        "/v1/backends",
        "List backends",
        "Every backend, installed or not.",
        {200: ("The backends.", BackendList)},
        ("image_missing", "model_index_damaged"),
    ),
    Operation(
        "listModels",
        "GET",
        "/v1/models",
        "List models",
        "Every installed model.",
        {200: ("The models.", ModelList)},
        ("image_missing", "model_index_damaged"),
    ),
    Operation(
        "getVersion",
        "GET",
        "/v1/version",
        "Show the engine version",
        "The version, its public key and its policies.",
        {200: ("The version.", VersionView)},
        (),
    ),
    Operation(
        "getHealth",
        "GET",
        "/healthz",
        "Show whether executions can be taken",
        "503 with the same body where they would be refused.",
        {200: ("They can.", Health), 503: ("They cannot.", Health)},
        (),
    ),
    Operation(
        "getMetrics",
        "GET",
        "/metrics",
        "Get counters and gauges",
        "What is leased, what waits, what was refused: the text that Prometheus reads.",
        {200: ("The numbers.", None)},
        (),
        media_type="text/plain",
    ),
    Operation(
        "getOpenApi",
        "GET",
        "/openapi.json",
        "Get this document",
        "OpenAPI 3.1.",
        {200: ("The document.", None)},
        (),
    ),
)

OPERATIONS = (*_RUN_OPERATIONS, *LEDGER_OPERATIONS)


def _links(pointer: str) -> dict[str, Any]:
    parameters = {EXECUTION_ID.name: f"$response.body#{pointer}"}
    return {
        other.operation_id: {"operationId": other.operation_id, "parameters": parameters}
        for other in OPERATIONS
        if EXECUTION_ID in other.parameters
    }


def _event_schema() -> dict[str, Any]:
    """Return the schema of one event; OpenAPI 3.1 has no other word for the items of a stream (3.2: `itemSchema`)."""
    events = {"started": StreamStarted, "token": StreamToken, "done": RunView, "error": Problem}
    return {
        "description": "Each of the events.",
        "oneOf": [
            {
                "type": "object",
                "required": ["event", "data"],
                "properties": {
                    "event": {"const": name},
                    "data": {
                        "type": "string",
                        "contentMediaType": JSON,
                        "contentSchema": {"$ref": REFERENCE.format(model=model.__name__)},
                    },
                },
            }
            for name, model in events.items()
        ],
    }


def _content(operation: Operation, model: type[Contract] | None, status: int) -> dict[str, Any]:
    if model is None:
        kind = "object" if operation.media_type == JSON else "string"
        return {operation.media_type: {"schema": {"type": kind}}}
    media_type = RECORD_TYPE if model is Envelope else JSON
    content: dict[str, Any] = {media_type: {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}}
    if operation.streams and status == 200:  # noqa: PLR2004 - HTTP OK
        content[EVENT_STREAM] = {"schema": _event_schema()}
    return content


def _problem_responses(codes: tuple[str, ...]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEM_CODES[code][0], []).append(code)
    return {
        str(status): {
            "description": "`code`: " + ", ".join(f"`{code}`" for code in sorted(names)),
            "content": {PROBLEM_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}},
        }
        for status, names in sorted(by_status.items())
    }


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
    responses = _problem_responses((*_ALWAYS, *operation.problems))
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
    }
    if operation.parameters:
        document["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.request is not None:
        reference = {"$ref": REFERENCE.format(model=operation.request.__name__)}
        document["requestBody"] = {"required": True, "content": {JSON: {"schema": reference}}}
    return document


def build_openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the API."""
    models: set[type[Contract]] = {Problem, StreamStarted, StreamToken}
    for operation in OPERATIONS:
        models.update(model for _, model in operation.responses.values() if model is not None)
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
            "description": "Executes one Run Request once, in a fresh sandbox, measures it from outside and signs the "
            "record. A bearer token is required for every call.",
        },
        "servers": [{"url": "http://127.0.0.1:8642", "description": "Loopback only."}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas["$defs"],
        },
    }
