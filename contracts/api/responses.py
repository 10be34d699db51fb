"""The responses of the API, except problems and signed records."""

from typing import Literal

from contracts.execution.execution_plan import ExecutionPlan, ModelSignature, TensorTypeCount
from contracts.execution.metrics import Metrics
from contracts.execution.metrics_record import Reason
from contracts.wire.document import Contract, Many
from contracts.wire.types import (
    CallerName,
    Count,
    Digest,
    EngineVersion,
    ExecutionId,
    ModelName,
    Positive,
    QuantizationName,
    RoleName,
    Timestamp,
)

__all__ = [
    "BackendList",
    "BackendView",
    "Health",
    "ModelList",
    "ModelView",
    "PlanView",
    "Readiness",
    "RunList",
    "RunStatus",
    "RunSummary",
    "RunView",
    "StreamDone",
    "StreamStarted",
    "StreamToken",
    "TokenList",
    "TokenView",
    "VersionView",
]

RunStatus = Literal["queued", "running", "completed", "failed", "cancelled", "aborted"]


class RunSummary(Contract):
    """One execution in a list."""

    execution_id: ExecutionId
    """Identifier of the execution; identifiers sort by time of acceptance."""
    engine_version: EngineVersion
    """The engine that executes, or executed, the request."""
    status: RunStatus
    """State of the execution: `queued` and `running` will change, the other four are final."""
    model: ModelName
    """Name of the model."""
    accepted_at: Timestamp
    """Time of acceptance, UTC."""
    plan_digest: Digest
    """SHA-256 of the RFC 8785 form of the plan."""


class RunView(RunSummary):
    """One execution. `execution_id`, `engine_version` and `metrics` are section 6 of the integration specification."""

    metrics: Metrics | None
    """The metrics; null: the execution has not ended, or the supervisor stopped before it could store them."""
    output: str | None
    """Text generated so far, or the complete text once the execution has ended; null: no longer stored."""
    output_absent: Literal["erased_by_policy"] | None = None
    """Why a text that there was is no longer stored. `erased_by_policy`: the operator's policy keeps prompts and
    outputs for some days (`texts.keep_days`); the record still names both by digest. null: nothing was erased."""
    reason: Reason | None
    """Why the execution did not complete; null: it completed or has not ended."""
    container_id: str | None
    """Identifier of the container; null: there was none, or not yet."""
    queue_position: Positive | None
    """Place in the queue: 1 starts next. Requests from other callers can move it back. null: the execution is not
    waiting."""
    record: str | None
    """Path of the signed record in this API; null: the execution has not ended."""


class RunList(Contract):
    """A page of executions, newest first."""

    runs: Many[RunSummary]
    """The executions of this page."""
    next: ExecutionId | None
    """Value of `before` that returns the next page; null: this is the last page."""


class PlanView(Contract):
    """The plan that a request would get. Nothing was executed."""

    plan: ExecutionPlan
    """The plan."""
    plan_digest: Digest
    """SHA-256 of the RFC 8785 form of the plan."""


class BackendView(Contract):
    """One backend: a build of llama.cpp."""

    name: str
    """Value for `execution.backend` of a request."""
    installed: bool
    """Whether its runtime image is installed."""
    runnable: bool
    """Whether this machine's CPU has all instruction sets that the backend needs."""
    image: Digest | None
    """Digest of the configuration of its runtime image; null: not installed."""
    missing_cpu_features: Many[str]
    """Instruction sets that the backend needs and this machine lacks."""


class BackendList(Contract):
    """All backends, installed or not."""

    backends: Many[BackendView]
    """The backends, sorted by name."""


class ModelView(Contract):
    """One installed model file."""

    name: ModelName
    """Value for `model` of a request."""
    quantization: QuantizationName
    """Value for `execution.quantization` of a request."""
    architecture: str
    """Architecture, as read from the header of the file (`general.architecture`)."""
    context_length: Count
    """Largest context that the model was trained for, in tokens."""
    sha256: Digest
    """SHA-256 of the file."""
    size_bytes: Count
    """Size of the file in bytes."""
    mixture: Many[TensorTypeCount]
    """The types of the weights, the most frequent first."""
    chat_template: Digest | None
    """SHA-256 of the chat template in the file; null: the file carries none, so that only `raw` prompts can be run."""
    signature: ModelSignature | None
    """The signature of the file that was verified at installation; null: none."""
    parent: Digest | None
    """SHA-256 of the file that this one was quantized from by `weos-engine models quantize`; null: it was added."""


class ModelList(Contract):
    """All installed models."""

    models: Many[ModelView]
    """The models, sorted by name and quantization."""


class VersionView(Contract):
    """The version of this engine, and the key that signs its records."""

    engine_version: EngineVersion
    """The version. Engines with different source have different versions."""
    manifest: Digest | None
    """Digest of the engine manifest of this version; null: a development version, which has none."""
    public_key: str
    """Ed25519 SubjectPublicKeyInfo (DER) in base64. Before you trust this key, compare it with a copy that you received
    in another way."""
    policies: dict[str, Digest]
    """Digest of every policy file, by file name."""


class Health(Contract):
    """Whether the engine accepts executions."""

    status: Literal["ok", "degraded"]
    """`ok`: requests are accepted. `degraded`: the API responds, but would refuse executions."""
    engine: Literal["up", "down"]
    """Whether the container engine (Docker or Podman) responds."""
    unrecorded: Count
    """Number of ended executions whose record could not be stored yet. Unless it is 0, an operator must act."""


class TokenView(Contract):
    """One bearer token; nothing here helps to guess it."""

    name: CallerName
    """Its name, as plans and records have it."""
    role: RoleName
    """The role of who shows it."""
    created_at: Timestamp | None
    """Time of its creation, UTC; null: not known, for the operator's own."""
    last_used_on: str | None
    """Last day of its use, as `YYYY-MM-DD` in UTC; null: it was never used."""
    revoked_at: Timestamp | None
    """Time from which on it is refused, UTC; null: it is accepted."""
    tokens_today: Count
    """Tokens of prompts and answers of its executions that ended today, in UTC; counted against `tokens_per_day`."""
    joules_today: Count
    """Energy attributed to them, in whole J; counted against `joules_per_day`."""


class TokenList(Contract):
    """All tokens, revoked ones too."""

    tokens: Many[TokenView]
    """The tokens, oldest first; the operator's own is the first."""


class Readiness(Contract):
    """Whether an execution would start now."""

    ready: bool
    """Whether the container engine answers, the newest container started, and every record could be stored."""
    reason: str | None
    """Why not; null where it is ready. Where a container did not start, the container engine's own words."""


class StreamStarted(Contract):
    """First event of a stream: the execution was accepted."""

    execution_id: ExecutionId
    """Identifier of the execution."""
    plan_digest: Digest
    """SHA-256 of the RFC 8785 form of the plan."""


class StreamToken(Contract):
    """One generated token of a stream."""

    index: Count
    """Position of the token in the answer; 0 is the first."""
    text: str
    """Text that is now final. Empty while an incomplete character or a possible stop text is held back."""


class StreamDone(RunView):
    """Last event of a stream whose execution completed."""

    rest: str
    """Text that no `token` event of this stream has: what was held back until the end, or the whole output if the
    execution had ended before. The texts of all `token` events and `rest` together are `output`."""
