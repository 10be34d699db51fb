"""What the API answers, beside problems and signed records."""

from typing import Literal

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics import Metrics
from contracts.execution.metrics_record import Reason
from contracts.wire.document import Contract, Many
from contracts.wire.types import (
    Count,
    Digest,
    EngineVersion,
    ExecutionId,
    ModelName,
    Positive,
    QuantizationName,
    Timestamp,
)

__all__ = [
    "BackendList",
    "BackendView",
    "Health",
    "ModelList",
    "ModelView",
    "PlanView",
    "RunList",
    "RunStatus",
    "RunSummary",
    "RunView",
    "StreamStarted",
    "StreamToken",
    "VersionView",
]

RunStatus = Literal["queued", "running", "completed", "failed", "cancelled", "aborted"]


class RunSummary(Contract):
    """One execution in a list."""

    execution_id: ExecutionId
    """Sortable by time of acceptance."""
    engine_version: EngineVersion
    """The engine that ran, or runs, it."""
    status: RunStatus
    """Where it stands; the last four are final."""
    model: ModelName
    """Name of the model."""
    accepted_at: Timestamp
    """When it was accepted, UTC."""
    plan_digest: Digest
    """Digest of its plan."""


class RunView(RunSummary):
    """One execution; `execution_id`, `engine_version` and `metrics` are section 6 of the specification."""

    metrics: Metrics | None
    """The numbers; null until it has ended, or where the supervisor ended before it could keep them."""
    output: str | None
    """Text generated so far, or in all; null where it is no longer kept."""
    reason: Reason | None
    """Why it did not complete."""
    container_id: str | None
    """The container that ran it; null until there is one."""
    queue_position: Positive | None
    """1 is next; null when not waiting."""
    record: str | None
    """Path of the signed record; null until it has ended."""


class RunList(Contract):
    """A page of executions, newest first."""

    runs: Many[RunSummary]
    """The page."""
    next: ExecutionId | None
    """Pass it as `before` for the next page; null on the last."""


class PlanView(Contract):
    """The plan that a request would get; nothing was executed."""

    plan: ExecutionPlan
    """The plan."""
    plan_digest: Digest
    """SHA-256 over its RFC 8785 form."""


class BackendView(Contract):
    """One backend."""

    name: str
    """Name for `execution.backend`."""
    installed: bool
    """Whether its runtime image is there."""
    runnable: bool
    """Whether this machine has the instructions it needs."""
    image: Digest | None
    """Its runtime image; null: not installed."""
    missing_cpu_features: Many[str]
    """Instruction sets that this machine lacks."""


class BackendList(Contract):
    """All backends."""

    backends: Many[BackendView]
    """By name."""


class ModelView(Contract):
    """One installed model."""

    name: ModelName
    """Name for `model`."""
    quantization: QuantizationName
    """For `execution.quantization`."""
    architecture: str
    """From the file's header."""
    context_length: Count
    """Largest context the model was trained for, in tokens."""
    sha256: Digest
    """Digest of the file."""
    size_bytes: Count
    """Size of the file."""


class ModelList(Contract):
    """All installed models."""

    models: Many[ModelView]
    """By name and quantization."""


class VersionView(Contract):
    """Which engine this is and the key that its records are signed with."""

    engine_version: EngineVersion
    """Unique to the engine's content."""
    manifest: Digest | None
    """Digest of the version's engine manifest; null: a development version, which has none."""
    public_key: str
    """Ed25519 SubjectPublicKeyInfo (DER) in base64. Get it by another way too before you trust it."""
    policies: dict[str, Digest]
    """Every policy file by digest."""


class Health(Contract):
    """Whether executions can be taken."""

    status: Literal["ok", "degraded"]
    """`degraded`: the API answers but executions would be refused."""
    engine: Literal["up", "down"]
    """The container engine."""
    unrecorded: Count
    """Ended executions whose record could not be stored yet; anything but 0 needs an operator."""


class StreamStarted(Contract):
    """First event of a stream."""

    execution_id: ExecutionId
    """The execution."""
    plan_digest: Digest
    """Digest of its plan."""


class StreamToken(Contract):
    """One token of a stream."""

    index: Count
    """0 for the first; equal to `tokens_total` for text that was held back to the end."""
    text: str
    """Text that became certain."""
