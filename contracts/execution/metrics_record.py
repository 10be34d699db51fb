"""The metrics record: what the engine states about one execution, as an in-toto Statement v1."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from contracts.execution.determinism import Determinism
from contracts.execution.execution_plan import ExecutionPlan, PlannedArtifact
from contracts.execution.isolation_receipt import IsolationReceipt
from contracts.execution.metrics import Measurements, Metrics
from contracts.execution.power_evidence import PowerEvidence
from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.document import Contract, Many
from contracts.wire.statement import Subject
from contracts.wire.types import Count, Digest, EngineVersion, ExecutionId, Timestamp

__all__ = [
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "MetricsRecord",
    "Outcome",
    "Reason",
    "SandboxObservation",
    "Statement",
]

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Literal["urn:weos:engine:metrics-record:1"] = "urn:weos:engine:metrics-record:1"

Outcome = Literal["completed", "failed", "cancelled", "aborted"]


class Reason(Contract):
    """Why an execution did not complete."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """Stable identifier."""
    message: Annotated[str, StringConstraints(max_length=1024)]
    """Words for a person; holds nothing of prompt or output."""


class SandboxObservation(Contract):
    """What was observed of the container."""

    container_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """The container, used once."""
    image: Digest
    """Image the container was really made from, as the container engine reports it."""
    start: Literal["cold", "warm"]
    """`cold`: made for this execution after it was accepted. `warm`: made ahead, with nothing of any request in it,
    waiting with its model loaded when this execution leased it. Either way used once and destroyed."""
    age_ms: Count
    """Milliseconds from the start of its container to its lease by this execution; 0 where it is `cold`."""
    cpus: Many[Annotated[int, Field(ge=0, le=4095)]]
    """Logical CPUs leased to it."""
    cpu_features: Many[str] | None
    """Instruction sets that ggml reported; null: the runner never became ready."""
    llama_cpp_version: str | None
    """Version of the bindings in the image; null: the runner never became ready."""
    isolation: IsolationReceipt | None
    """What was seen of it from outside before the job was sent; null: it did not come that far."""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None
    """Exit status seen before the container was destroyed; null: it was still running and was killed."""
    oom_killed: bool | None
    """Whether the kernel ended it for want of memory; null: not known."""


class MetricsRecord(Contract):
    """The predicate: one execution, what was asked, what was observed and the numbers that follow."""

    schema_version: Literal["weos.metrics-record/1"]
    """Kind and version of this document."""
    execution_id: ExecutionId
    """The execution."""
    seq: Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
    """Its number in this ledger: from 1, without gaps, in the order of acceptance."""
    engine_version: EngineVersion
    """The engine that makes this statement; the signature is by this version's key. It is the plan's, except that an
    execution which an earlier version left behind is recorded as `aborted` by the next one."""
    manifest: Digest | None
    """Digest of that version's engine manifest; null: a development tree, which has none."""
    plan: ExecutionPlan
    """What was to be executed, whole."""
    plan_digest: Digest
    """SHA-256 over the plan's RFC 8785 form."""
    outcome: Outcome
    """`completed`, `failed`, `cancelled` by the caller, or `aborted` because the supervisor ended."""
    reason: Reason | None
    """Why it did not complete; null for `completed`."""
    accepted_at: Timestamp
    """When the execution became durable, UTC."""
    finished_at: Timestamp
    """When its outcome was known, UTC; `accepted_at` where the machine's clock was set back in between. Durations are
    of another clock, which is never set."""
    output: PlannedArtifact | None
    """Digest and size of the text produced, in UTF-8, partial output included; null: not known."""
    measurements: Measurements | None
    """Raw integers; null: the supervisor ended before it could keep them."""
    power: PowerEvidence | None
    """What the watts come from; null likewise."""
    metrics: Metrics | None
    """Numbers derived from the two above; null likewise."""
    sandbox: SandboxObservation | None
    """The container; null: none was made, or it is not known."""
    determinism: Determinism | None
    """What, beside model, prompt and limits, decides the tokens; null: the runner never became ready."""


class Statement(Contract):
    """in-toto Statement v1; the payload of the signed envelope."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    MAX_BYTES: ClassVar[int] = 4_194_304

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    """Fixed by in-toto."""
    subject: Annotated[Many[Subject], Field(min_length=1, max_length=2)]
    """Digests of the plan and, where there is one, of the output."""
    predicateType: Literal["urn:weos:engine:metrics-record:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: MetricsRecord
    """The record itself."""
