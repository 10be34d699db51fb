"""Answers of the API, apart from problems and signed records."""

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
    """Id of the execution; ids sort by time of acceptance."""
    engine_version: EngineVersion
    """Version of the engine that runs or ran it."""
    status: RunStatus
    """State of the execution; the last four are final."""
    model: ModelName
    """Name of the model."""
    accepted_at: Timestamp
    """Time of acceptance, UTC."""
    plan_digest: Digest
    """Digest of the execution's plan."""


class RunView(RunSummary):
    """One execution; `execution_id`, `engine_version` and `metrics` are section 6 of the specification."""

    metrics: Metrics | None
    """Measured numbers. `null` means that the execution has not ended, or that the numbers were lost at its end."""
    output: str | None
    """Text generated so far, or the whole text. `null` means that it is no longer kept."""
    reason: Reason | None
    """Why the execution did not complete. `null` means that it has completed or not ended."""
    container_id: str | None
    """Id of the container. `null` means that there has been none yet."""
    queue_position: Positive | None
    """Place in the queue: 1 starts next. Requests from other callers can move it back. `null` means not waiting."""
    record: str | None
    """Path of the signed record. `null` means that the execution has not ended."""


class RunList(Contract):
    """A page of executions, newest first."""

    runs: Many[RunSummary]
    """Executions of this page."""
    next: ExecutionId | None
    """Value of `before` for the next page. `null` means that this is the last page."""


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
    """Whether its runtime image is built."""
    runnable: bool
    """Whether this machine has the instructions it needs."""
    image: Digest | None
    """Id of its runtime image. `null` means not installed."""
    missing_cpu_features: Many[str]
    """Instruction sets that this machine lacks."""


class BackendList(Contract):
    """All backends."""

    backends: Many[BackendView]
    """Backends, sorted by name."""


class ModelView(Contract):
    """One installed model."""

    name: ModelName
    """Name for `model`."""
    quantization: QuantizationName
    """Value for `execution.quantization`."""
    architecture: str
    """Architecture that the file's header names."""
    context_length: Count
    """Largest context the model was trained for, in tokens."""
    sha256: Digest
    """Digest of the file."""
    size_bytes: Count
    """Size of the file."""


class ModelList(Contract):
    """All installed models."""

    models: Many[ModelView]
    """Models, sorted by name and quantization."""


class VersionView(Contract):
    """The engine version and the key that signs its records."""

    engine_version: EngineVersion
    """Version, which is unique to the engine's content."""
    manifest: Digest | None
    """Digest of the engine manifest. `null` means a development version, which has none."""
    public_key: str
    """Ed25519 SubjectPublicKeyInfo (DER) in base64. Obtain it over a second channel too before you trust it."""
    policies: dict[str, Digest]
    """Digest of each policy file, by file name."""


class Health(Contract):
    """Whether the engine accepts executions."""

    status: Literal["ok", "degraded"]
    """`degraded` means that the API answers but would refuse executions."""
    engine: Literal["up", "down"]
    """Whether the container engine answers."""
    unrecorded: Count
    """Ended executions whose record is not stored yet. Anything but 0 needs an operator."""


class StreamStarted(Contract):
    """First event of a stream."""

    execution_id: ExecutionId
    """The execution."""
    plan_digest: Digest
    """Digest of its plan."""


class StreamToken(Contract):
    """One token of a stream."""

    index: Count
    """0 for the first token; `tokens_total` for text that was held back until the end."""
    text: str
    """Text that is final."""
