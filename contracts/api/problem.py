"""Problem documents (RFC 9457): every error of the API in one shape, with a stable code."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from contracts.wire.document import Contract, Many
from contracts.wire.errors import FieldError
from contracts.wire.types import Count, ExecutionId, Permission, Positive

__all__ = ["PROBLEM_CODES", "LimitName", "LimitReached", "Problem"]

# code -> (HTTP status, title). Codes never change; titles may be improved.
PROBLEM_CODES: dict[str, tuple[int, str]] = {
    "malformed_json": (400, "The body is not a single, valid JSON document"),
    "bad_parameter": (400, "A query or path parameter is not valid"),
    "bad_header": (400, "A header is not valid"),
    "unauthorized": (401, "A valid bearer token is required"),
    "host_not_allowed": (403, "The Host header does not name this machine"),
    "permission_missing": (403, "The token's role does not allow this"),
    "isolation_required": (403, "A policy demands a stronger isolation tier"),
    "not_found": (404, "There is no such resource"),
    "execution_not_found": (404, "There is no such execution"),
    "record_not_ready": (404, "The execution has not ended, so it has no record yet"),
    "method_not_allowed": (405, "The resource does not support this method"),
    "ledger_entry_not_found": (404, "The ledger has no such entry"),
    "ledger_range_unknown": (422, "The ledger does not have that many entries"),
    "already_finished": (409, "The execution has already ended"),
    "cancelled": (409, "The execution was cancelled"),
    "aborted": (409, "The execution ended because the supervisor stopped"),
    "text_erased": (410, "The execution's text was erased, as a policy says"),
    "engine_version_mismatch": (412, "Another engine version is running"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body must be application/json"),
    "expectation_failed": (417, "The expectation of the request cannot be met"),
    "invalid_request": (422, "The request does not match its schema"),
    "unknown_model": (422, "The model is not installed"),
    "unknown_backend": (422, "The backend is not known or not installed"),
    "unknown_quantization": (422, "The model is not installed in that quantization"),
    "unknown_scheduler_policy": (422, "There is no such scheduler policy"),
    "unsupported_cpu": (422, "This machine lacks instructions that the backend needs"),
    "limit_out_of_range": (422, "A limit is outside what the policy allows"),
    "insufficient_cores": (422, "The scheduler policy needs cores that this machine does not have"),
    "insufficient_memory": (422, "The model and context need more memory than this machine has"),
    "power_limit_unenforceable": (422, "This machine cannot enforce the power limit"),
    "idempotency_key_reused": (422, "The Idempotency-Key was already used with another body"),
    "context_overflow": (422, "Prompt and answer do not fit the context"),
    "empty_prompt": (422, "The prompt has no tokens"),
    "chat_template_missing": (422, "The model has no chat template"),
    "template_refused": (422, "The model's chat template refuses these messages"),
    "template_failed": (422, "The model's chat template cannot be rendered"),
    "grammar_invalid": (422, "The grammar is not valid"),
    "json_schema_unsupported": (422, "The JSON Schema uses what cannot be enforced"),
    "time_limit_exceeded": (422, "The execution exceeded its time limit"),
    "output_limit_exceeded": (422, "The execution wrote more output than allowed"),
    "power_limit_exceeded": (422, "The execution drew more power than allowed"),
    "memory_limit_exceeded": (422, "The execution needed more memory than allowed"),
    "limit_reached": (429, "The token has reached one of its limits"),
    "queue_full": (429, "Too many executions are waiting"),
    "internal_error": (500, "The supervisor failed; its log has the details"),
    "model_load_failed": (500, "llama.cpp could not load the model"),
    "model_assertion_failed": (500, "An assertion of llama.cpp failed"),
    "model_exception": (500, "llama.cpp threw an exception that nothing caught"),
    "model_crashed": (500, "llama.cpp crashed"),
    "model_changed": (500, "The model file changed while the execution used it"),
    "lock_violated": (500, "The runner made a system call that its locks do not allow"),
    "runner_failed": (500, "The runner violated its protocol or ended early"),
    "sandbox_failed": (500, "The container engine could not start the sandbox"),
    "isolation_mismatch": (500, "The sandbox was not as requested, so the job was not sent"),
    "lock_missing": (500, "The sandbox was not confirmed to be under both locks, so the job was not sent"),
    "not_implemented": (501, "The method or the transfer coding is not supported"),
    "engine_unavailable": (503, "The container engine does not answer"),
    "isolation_unavailable": (503, "The isolation tier is not available on this machine"),
    "power_sensor_required": (503, "A policy demands a power sensor, but none is available"),
    "power_limit_not_restored": (503, "The GPU still has the power limit of an earlier execution"),
    "limit_unenforceable": (503, "The container engine cannot enforce a limit of the sandbox"),
    "ledger_unsound": (503, "The store of records cannot be used"),
    "image_missing": (503, "The runtime image of the backend is missing"),
    "model_missing": (503, "The model file is missing"),
    "model_altered": (503, "The model file is not the one that was installed"),
    "model_index_damaged": (503, "The list of installed models cannot be read"),
    "shutting_down": (503, "The supervisor is shutting down"),
    "power_sensor_lost": (503, "The energy counters can no longer be read"),
    "storage_full": (507, "There is no space left to store the record"),
}


def _require_known(code: str) -> str:
    if code not in PROBLEM_CODES:
        message = "not a problem code of this API version"
        raise ValueError(message)
    return code


ProblemCode = Annotated[str, Field(json_schema_extra={"enum": sorted(PROBLEM_CODES)}), AfterValidator(_require_known)]


LimitName = Literal["requests_per_minute", "executions_at_once", "tokens_per_day", "joules_per_day"]


class LimitReached(Contract):
    """A limit of the caller's token that the request would exceed."""

    name: LimitName
    """Which limit."""
    most: Positive
    """Its value."""
    used: Count
    """What is counted against it; for tokens, with what executions under way may still generate."""


class Problem(Contract):
    """An error response of the API."""

    type: str
    """URI of the kind of error: `urn:weos:problem:` followed by `code`."""
    title: str
    """The kind of error in words."""
    status: Annotated[int, Field(ge=400, le=599)]
    """HTTP status code."""
    detail: str
    """What happened in this case, why, and what to do next."""
    code: ProblemCode
    """Stable identifier of the kind of error."""
    errors: Many[FieldError] = ()
    """Faulty fields of the request; empty: no field is at fault, or none can be named."""
    available: Many[str] | None = None
    """Names that exist, if the request used a name that does not exist; null: there is no such list."""
    missing_permission: Permission | None = None
    """What the role of the token would have to allow; null: no permission is missing."""
    limit: LimitReached | None = None
    """The limit that was reached; the header `Retry-After` says when to ask again. null: no limit was reached."""
    execution_id: ExecutionId | None = None
    """Execution to which the error belongs; its signed record says more. null: the error belongs to no execution."""
    partial: dict[str, Any] | None = None
    """The execution as a RunView, with partial output and metrics; null: the error is not that of an ended
    execution."""

    @property
    def media_type(self) -> Literal["application/problem+json"]:
        """The media type of RFC 9457."""
        return "application/problem+json"

    @classmethod
    def of(
        cls,
        code: str,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        available: tuple[str, ...] | None = None,
        missing_permission: Permission | None = None,
        limit: LimitReached | None = None,
        execution_id: str | None = None,
        partial: dict[str, Any] | None = None,
    ) -> "Problem":
        """Create the document for a code; status and title follow from the code."""
        status, title = PROBLEM_CODES[code]
        return cls(
            type=f"urn:weos:problem:{code}",
            title=title,
            status=status,
            detail=detail,
            code=code,
            errors=errors,
            available=available,
            missing_permission=missing_permission,
            limit=limit,
            execution_id=execution_id,
            partial=partial,
        )
