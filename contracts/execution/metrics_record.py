"""The metrics record: what the engine states about one execution, as an in-toto Statement v1."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from contracts.execution.determinism import CpuFeature, Determinism
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
    """Stable identifier of the reason."""
    message: Annotated[str, StringConstraints(max_length=1024)]
    """Explanation for a person; it contains nothing of the prompt or the answer."""


class SandboxObservation(Contract):
    """What the supervisor observed of the container."""

    container_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """Identifier of the container, which is used for one execution only."""
    image: Digest
    """Image that the container was created from, as the container engine reports it."""
    start: Literal["cold", "warm"]
    """`cold`: the container was created for this execution after its acceptance. `warm`: the container was created
    earlier, without data of any request, and waited with its model loaded. In both cases it is used once, then
    destroyed."""
    age_ms: Count
    """Time from the start of the container until this execution got it, in milliseconds; 0 if `start` is `cold`."""
    cpus: Many[Annotated[int, Field(ge=0, le=4095)]]
    """Numbers of the logical CPUs that the container was given."""
    cpu_features: Many[CpuFeature] | None
    """CPU instruction sets in use, as ggml reported them; null: the runner never became ready."""
    llama_cpp_version: str | None
    """Version of the llama.cpp bindings in the image; null: the runner never became ready."""
    isolation: IsolationReceipt | None
    """What was observed of the sandbox from outside before the job was sent; null: the execution ended before that."""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None
    """Exit status of the container before it was destroyed; null: it was still running and was killed."""
    oom_killed: bool | None
    """Whether the kernel killed the container because it ran out of memory; null: not known."""


class MetricsRecord(Contract):
    """The predicate: the plan of one execution, the observations made during it and the metrics derived from them."""

    schema_version: Literal["weos.metrics-record/1"]
    """Kind and version of this document."""
    execution_id: ExecutionId
    """Identifier of the execution."""
    seq: Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
    """Number of the execution in this ledger: from 1, without gaps, in the order of acceptance."""
    engine_version: EngineVersion
    """The engine that makes this statement; this version's key signs it. It is the version named in the plan, with one
    exception: if a version leaves an execution unfinished, the next version records it as `aborted`."""
    manifest: Digest | None
    """Digest of the engine manifest of that version; null: a development version, which has none."""
    plan: ExecutionPlan
    """The complete execution plan."""
    plan_digest: Digest
    """SHA-256 of the RFC 8785 form of the plan."""
    outcome: Outcome
    """`completed`; `failed`; `cancelled` by the client; `aborted` because the supervisor stopped."""
    reason: Reason | None
    """Why the execution did not complete; null: it completed."""
    accepted_at: Timestamp
    """Time at which the accepted execution was stored, UTC."""
    finished_at: Timestamp
    """Time at which the outcome was known, UTC; equal to `accepted_at` if the machine's clock was set back in between.
    Durations come from another clock, which cannot be set."""
    output: PlannedArtifact | None
    """Digest and size of the generated text in UTF-8, complete or partial; null: not known."""
    measurements: Measurements | None
    """Raw measurements; null: the supervisor stopped before it could store them."""
    power: PowerEvidence | None
    """Raw data from which power and energy are computed; null: the supervisor stopped before it could store them."""
    metrics: Metrics | None
    """Metrics derived from `measurements` and `power`; null: the supervisor stopped before it could store those."""
    sandbox: SandboxObservation | None
    """What was observed of the container; null: no container was created, or it is not known."""
    determinism: Determinism | None
    """What decides the tokens, besides model, prompt and limits; null: the runner never became ready."""


class Statement(Contract):
    """in-toto Statement v1; the payload of the signed envelope."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    MAX_BYTES: ClassVar[int] = 4_194_304

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    """Fixed by in-toto."""
    subject: Annotated[Many[Subject], Field(min_length=1, max_length=2)]
    """Digest of the plan and, if there is an output, digest of the output."""
    predicateType: Literal["urn:weos:engine:metrics-record:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: MetricsRecord
    """The metrics record."""
