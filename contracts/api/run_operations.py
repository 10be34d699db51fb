"""The operations of the API, except those on the ledger, as data."""

from contracts.api.operation import EXECUTION_ID, Operation, Parameter
from contracts.api.problem import Problem
from contracts.api.responses import (
    BackendList,
    Health,
    ModelList,
    PlanView,
    RunList,
    RunView,
    StreamDone,
    StreamStarted,
    StreamToken,
    VersionView,
)
from contracts.execution.run_request import RunRequest
from contracts.wire.envelope import Envelope

__all__ = [
    "ACCEPT",
    "BODY_PROBLEMS",
    "EVENT_STREAM",
    "EXECUTION_PROBLEMS",
    "IDEMPOTENCY_KEY",
    "PLANNING_PROBLEMS",
    "PREFER",
    "RESPOND_ASYNC",
    "RUN_OPERATIONS",
]

EVENT_STREAM = "text/event-stream"
RESPOND_ASYNC = "respond-async"

PREFER = Parameter(
    "Prefer",
    "header",
    f"`{RESPOND_ASYNC}` returns 202 at once (RFC 7240); the execution then continues even if the client disconnects.",
    {"type": "string"},
    example=RESPOND_ASYNC,
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "Requests with the same key and body execute only once. The execution continues if the client disconnects, and "
    "repeating the request fetches its result.",
    {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$"},
    form="1 to 128 printable ASCII characters without spaces",
)
ACCEPT = Parameter(
    "Accept",
    "header",
    f"`{EVENT_STREAM}` streams the tokens as events: `started`, any number of `token`, then `done` (a StreamDone) or "
    "`error` (a Problem).",
    {"type": "string"},
    example=EVENT_STREAM,
)
BEFORE = Parameter(
    "before",
    "query",
    "Return only executions that were accepted before the execution with this identifier.",
    EXECUTION_ID.schema,
    form=EXECUTION_ID.form,
)
LIMIT = Parameter(
    "limit",
    "query",
    "Maximum number of executions to return.",
    {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
)

BODY_PROBLEMS = ("malformed_json", "body_too_large", "unsupported_media_type", "invalid_request")
PLANNING_PROBLEMS = (
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
    "chat_template_missing",
    "json_schema_unsupported",
)
EXECUTION_PROBLEMS = (
    "idempotency_key_reused",
    "text_erased",
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
    "template_refused",
    "template_failed",
    "grammar_invalid",
    "time_limit_exceeded",
    "output_limit_exceeded",
    "memory_limit_exceeded",
    "power_limit_exceeded",
    "power_sensor_lost",
    "power_limit_not_restored",
    "model_load_failed",
    "model_assertion_failed",
    "model_exception",
    "model_crashed",
    "model_changed",
    "lock_violated",
    "runner_failed",
    "sandbox_failed",
    "isolation_mismatch",
    "lock_missing",
    "cancelled",
    "aborted",
)
RUN_OPERATIONS = (
    Operation(
        "createRun",
        "POST",
        "/v1/runs",
        "Execute a request",
        "Validates, plans and executes one request in a sandbox of its own. The response comes when the execution has "
        "ended, or at once with `Prefer: respond-async`. If a waiting client disconnects, its execution is cancelled. "
        "With an `Idempotency-Key` it continues, and repeating the request fetches the result.",
        {200: ("The execution completed.", RunView), 202: ("The execution was accepted.", RunView)},
        (*BODY_PROBLEMS, *PLANNING_PROBLEMS, *EXECUTION_PROBLEMS),
        request=RunRequest,
        parameters=(PREFER, IDEMPOTENCY_KEY, ACCEPT),
        events={"started": StreamStarted, "token": StreamToken, "done": StreamDone, "error": Problem},
        names_execution=(202, "/execution_id"),
    ),
    Operation(
        "listRuns",
        "GET",
        "/v1/runs",
        "List executions",
        "Returns one page of executions, newest first.",
        {200: ("A page of executions.", RunList)},
        ("bad_parameter", "execution_not_found", "storage_full", "ledger_unsound"),
        parameters=(BEFORE, LIMIT),
    ),
    Operation(
        "getRun",
        "GET",
        "/v1/runs/{execution_id}",
        "Show one execution",
        "The current state of the execution; includes its metrics once it has ended.",
        {200: ("The execution.", RunView)},
        ("bad_parameter", "execution_not_found", "storage_full", "ledger_unsound"),
        parameters=(EXECUTION_ID,),
    ),
    Operation(
        "cancelRun",
        "DELETE",
        "/v1/runs/{execution_id}",
        "Cancel one execution",
        "The response comes once the record of the cancelled execution is stored.",
        {200: ("The cancelled execution.", RunView)},
        ("bad_parameter", "execution_not_found", "already_finished", "storage_full", "ledger_unsound"),
        parameters=(EXECUTION_ID,),
    ),
    Operation(
        "getRecord",
        "GET",
        "/v1/runs/{execution_id}/record",
        "Get the signed record",
        "The DSSE envelope, byte for byte as it is stored; `weos-engine audit record` checks it offline.",
        {200: ("The envelope.", Envelope)},
        ("bad_parameter", "execution_not_found", "record_not_ready", "storage_full", "ledger_unsound"),
        parameters=(EXECUTION_ID,),
    ),
    Operation(
        "createPlan",
        "POST",
        "/v1/plans",
        "Plan a request",
        "Returns the plan that the request would get. Nothing is executed or recorded.",
        {200: ("The plan.", PlanView)},
        (*BODY_PROBLEMS, *PLANNING_PROBLEMS, "image_missing"),
        request=RunRequest,
    ),
    Operation(
        "listBackends",
        "GET",
        "/v1/backends",
        "List backends",
        "All backends, installed or not.",
        {200: ("The backends.", BackendList)},
        ("image_missing", "model_index_damaged"),
    ),
    Operation(
        "listModels",
        "GET",
        "/v1/models",
        "List models",
        "All installed models.",
        {200: ("The models.", ModelList)},
        ("image_missing", "model_index_damaged"),
    ),
    Operation(
        "getVersion",
        "GET",
        "/v1/version",
        "Show the engine version",
        "The version, its public key and the digests of its policies.",
        {200: ("The version.", VersionView)},
        (),
    ),
    Operation(
        "getHealth",
        "GET",
        "/healthz",
        "Show whether executions are accepted",
        "Returns 503 with the same body if executions would be refused.",
        {200: ("Executions are accepted.", Health), 503: ("Executions would be refused.", Health)},
        (),
    ),
    Operation(
        "getMetrics",
        "GET",
        "/metrics",
        "Get counters and gauges",
        "Resources in use, waiting executions and refused requests, in the text format of Prometheus.",
        {200: ("The counters and gauges.", None)},
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
