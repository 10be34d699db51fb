"""The metrics record: what the engine states about one execution, as an in-toto Statement v1."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

from contracts.base import MAX_SAFE_INTEGER, Contract, Many
from contracts.determinism import Determinism
from contracts.execution_plan import ExecutionPlan, PlannedArtifact
from contracts.metrics import Measurements, Metrics
from contracts.power import PowerEvidence
from contracts.types import Count, Digest, EngineVersion, ExecutionId, IsolationTier, Timestamp

__all__ = [
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Difference",
    "GvisorObservation",
    "IsolationReceipt",
    "LocksObservation",
    "MappedObjects",
    "MetricsRecord",
    "Outcome",
    "Reason",
    "SandboxObservation",
    "Statement",
    "Subject",
]

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Literal["urn:weos:engine:metrics-record:1"] = "urn:weos:engine:metrics-record:1"

_CapabilitySet = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]

Outcome = Literal["completed", "failed", "cancelled", "aborted"]


class Reason(Contract):
    """Why an execution did not complete."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """Stable identifier."""
    message: Annotated[str, StringConstraints(max_length=1024)]
    """Words for a person; holds nothing of prompt or output."""


class LocksObservation(Contract):
    """What the kernel said of every thread of the container before the job was sent, read from outside.

    Where one thread had been under fewer locks, or able to do more, the job would not have been sent.
    """

    seccomp_mode: Annotated[int, Field(ge=0, le=2)]
    """Line `Seccomp` of /proc/PID/status; 2: system calls pass through filters."""
    filters_before: Annotated[int, Field(ge=0, le=1024)]
    """Filters before the model was read, the most on any thread; line `Seccomp_filters`."""
    filters_after: Annotated[int, Field(ge=0, le=1024)]
    """Filters when the runner was ready, the fewest on any thread."""
    no_new_privs: bool
    """Line `NoNewPrivs`: no program can gain privileges."""
    cap_eff: _CapabilitySet
    """Line `CapEff`: capabilities in force."""
    cap_bnd: _CapabilitySet
    """Line `CapBnd`: capabilities that could ever be had."""
    uid: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """User, as the host counts them."""
    threads: Annotated[int, Field(ge=1, le=65_536)]
    """Threads that were looked at, of all processes in the container."""


class GvisorObservation(Contract):
    """gVisor as the host's kernel showed it, and the runner as gVisor's kernel told of it, before the job was sent.

    gVisor's kernel is a process of the host's, and the runner's calls end in it. So the host's kernel says what
    gVisor's processes can do, and only gVisor's kernel can say what the runner can. Lock one is put on by gVisor's
    kernel before the runner starts (`--oci-seccomp`); it shows that lock to nobody, so there is no number of it here.
    """

    arguments: Annotated[Many[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=16)]
    """How gVisor's kernel was started, without the places where it keeps its files; read from its process."""
    processes: Annotated[int, Field(ge=1, le=65_536)]
    """Processes of the host's that the sandbox consists of."""
    threads: Annotated[int, Field(ge=1, le=65_536)]
    """Their threads, each of which was looked at."""
    host_filters: Annotated[int, Field(ge=1, le=1024)]
    """System call filters of gVisor's own, the fewest on any thread; line `Seccomp_filters`."""
    no_new_privs: bool
    """Line `NoNewPrivs`, of all threads."""
    kernel_uid: Annotated[int, Field(ge=1, le=2**32 - 1)]
    """User of gVisor's kernel, as the host counts them; it is in a user namespace of its own."""
    file_server_cap_eff: _CapabilitySet
    """Capabilities of the process that opens files for gVisor's kernel; it is the host's root, in a mount namespace
    with the image and the model alone."""
    guest_uid: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """User of the runner, as gVisor's kernel counts them."""
    guest_filters: Annotated[int, Field(ge=1, le=1024)]
    """Filters that the runner put on all its threads between its set-up and `ready`, by gVisor's kernel's report of
    each such call and its success: lock two."""


class MappedObjects(Contract):
    """The files that the running runner had mapped, each held against the image's manifest."""

    files: Annotated[int, Field(ge=0, le=65_536)]
    """Their number, without the model's."""
    digest: Digest
    """SHA-256 over the RFC 8785 form of an object: path to hexadecimal SHA-256 of the file's bytes. Equal for every
    execution of one image."""


class Difference(Contract):
    """One thing that was not as it was asked for."""

    field: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """The container engine's name for it, or ours."""
    requested: Annotated[str, StringConstraints(max_length=256)]
    """What was asked for."""
    effective: Annotated[str, StringConstraints(max_length=256)]
    """What was observed; `not seen` where it could not be observed."""


class IsolationReceipt(Contract):
    """The sandbox as it was observed from outside, after the model was loaded and before the job was sent.

    In a warm start threads, CPUs and their limit were looked at when it was leased, everything else when it had become
    ready: its second lock lets it change nothing of that.
    """

    tier: IsolationTier
    """Isolation tier."""
    locks: LocksObservation | None
    """Both locks, in tier `hardened`; null: they were not found, and the record's reason says so."""
    gvisor: GvisorObservation | None
    """What was seen of gVisor, in tier `gvisor`; null: another tier, or not what it should be (see the reason)."""
    mounts_digest: Digest | None
    """SHA-256 over the RFC 8785 form of the sorted list of mounts: `path type options`. Equal for every execution on
    one installation. null: not seen."""
    network_interfaces: Many[Annotated[str, StringConstraints(max_length=64)]] | None
    """Interfaces of its network namespace; null: not seen."""
    cpus_allowed: Many[Annotated[int, Field(ge=0, le=4095)]]
    """Logical CPUs that its threads could run on."""
    memory_limit_bytes: Count | None
    """Limit of its control group; null: not seen."""
    pids_limit: Count | None
    """Processes and threads that its control group allowed; null: not seen."""
    mapped_objects: MappedObjects | None
    """Code that ran; null: not seen."""
    unobserved: Annotated[Many[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=64)]
    """What was asked for and can be seen from outside nowhere in this tier: gVisor alone vouches for it. Empty in tier
    `hardened`, where everything is seen."""
    escape_report: Digest | None
    """Digest of the escape suite's report on this very image, policies, engine version, tier and kernel, in which every
    attack was blocked; null: there is none."""
    escape_reason: Annotated[str, StringConstraints(max_length=256)] | None
    """Why there is none."""
    difference: Annotated[Many[Difference], Field(max_length=64)]
    """What was not as asked for. Where it is not empty the job was not sent."""


class SandboxObservation(Contract):
    """What was observed of the container."""

    container_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """The container, used once."""
    image: Digest
    """Image the container was really made from, as the container engine reports it."""
    start: Literal["cold", "warm"]
    """`cold`: made for this execution after it was accepted. `warm`: made ahead, with nothing of any request in it,
    waiting with its model loaded when this execution leased it. Either way used once and destroyed."""
    age_ms: Count | None = None
    """Milliseconds from the start of its container to its lease by this execution; 0 where it is `cold`. null: records
    made before there were warm starts do not say. Null is not written."""
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

    @model_serializer(mode="wrap")
    def _leave_out_unknown_age(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Written, it would make every record from before it was there another document than the one that was signed.
        document: dict[str, Any] = serialize(self)
        if document["age_ms"] is None:
            del document["age_ms"]
        return document


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


class Subject(Contract):
    """One thing that the statement is about."""

    name: Literal["output", "plan"]
    """`plan`: its RFC 8785 form; `output`: the text in UTF-8."""
    digest: dict[Literal["sha256"], Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]
    """Hexadecimal SHA-256."""


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
