"""The Execution Plan: one resolved execution, every choice explicit and every artifact named by its digest."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

from contracts.execution.power_evidence import PowerSource
from contracts.execution.run_request import Sampling, StopSequence
from contracts.execution.runner_protocol import MAX_CONTEXT_TOKENS, MAX_THREADS
from contracts.wire.document import Contract, Many
from contracts.wire.types import (
    BackendName,
    Count,
    Digest,
    EngineVersion,
    IsolationTier,
    ModelName,
    Nonce,
    PolicyName,
    Positive,
    QuantizationName,
    RoleName,
)

__all__ = ["ExecutionPlan", "PlannedArtifact", "PlannedLimits", "PlannedModel", "PlannedScheduling"]


class PlannedArtifact(Contract):
    """Bytes known by what they are, not by where they lie."""

    sha256: Digest
    """Digest of the bytes."""
    size_bytes: Count
    """Their number."""


class PlannedModel(PlannedArtifact):
    """The model file."""

    name: ModelName
    """Name under which it is installed."""
    quantization: QuantizationName
    """Quantization as read from the file's own header."""
    architecture: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """Architecture as read from the file's own header (`general.architecture`)."""


class PlannedScheduling(Contract):
    """How the execution gets cores and threads."""

    policy: PolicyName
    """The scheduler policy that was chosen."""
    cores: Annotated[int, Field(ge=1, le=4096)]
    """Physical cores leased to the execution alone, with every logical CPU of theirs that the engine may use; which
    ones is in the record. In plans made before there was `whole_cores` it counts logical CPUs."""
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    """Computing threads."""
    batch_tokens: Annotated[int, Field(ge=1, le=65_536)]
    """Prompt tokens computed at once."""
    repack: bool
    """Whether weights are rearranged at load for the instruction set."""
    omp_wait_policy: Literal["passive", "active"]
    """How idle threads wait at a barrier: asleep or spinning."""
    spin_count: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Turns that a waiting thread spins before it goes to sleep (libgomp's GOMP_SPINCOUNT); null, and in plans made
    before there was this field: none or for ever, as `omp_wait_policy` says. Null is not written."""
    whole_cores: bool = False
    """Whether the engine may use every logical CPU of each leased core, so that nothing else runs on them; false, and
    in plans made before there was this field: that was not asked for. False is not written."""

    @model_serializer(mode="wrap")
    def _leave_out_later_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Written, they would change the digest of every plan from before they were there, which its record names.
        document: dict[str, Any] = serialize(self)
        for name, default in _LATER_DEFAULTS.items():
            if document[name] == default:
                del document[name]
        return document


_LATER_DEFAULTS = {"spin_count": None, "whole_cores": False}


class PlannedLimits(Contract):
    """Limits that are enforced while the plan runs."""

    max_tokens: Positive
    """Generated tokens at most."""
    max_watts: Annotated[float, Field(gt=0)] | None
    """Average power attributed to the execution, in watts; null: no limit."""
    timeout_s: Positive
    """Seconds from the lease of its CPUs to its end."""
    memory_bytes: Positive
    """Memory of the sandbox, swap included."""
    output_bytes: Positive
    """Bytes that the runner may write."""


class ExecutionPlan(Contract):
    """What will be executed. Two equal requests on one installation give one plan and so one `plan_digest`."""

    schema_version: Literal["weos.execution-plan/1"]
    """Kind and version of this document."""
    engine_version: EngineVersion
    """The engine that runs it; its source is what this version names."""
    backend: BackendName
    """The build of llama.cpp."""
    runtime_image: Digest
    """Container image, by the digest of its configuration."""
    model: PlannedModel
    """The model file."""
    prompt: PlannedArtifact
    """The prompt in UTF-8. Its text stays out of the plan, because a record can never be deleted."""
    policies: dict[str, Digest]
    """Every policy file by its digest."""
    scheduling: PlannedScheduling
    """Cores and threads."""
    context_tokens: Annotated[int, Field(ge=1, le=MAX_CONTEXT_TOKENS)]
    """Room for prompt and answer together."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_294)]
    """Seed of the sampler."""
    sampling: Sampling
    """How the next token is chosen."""
    stop: Many[StopSequence]
    """Texts that end the answer."""
    limits: PlannedLimits
    """What is enforced."""
    isolation: IsolationTier
    """Isolation tier of the sandbox."""
    power_source: PowerSource
    """The meter in force when it was planned: `model` is cgroup CPU time and a declared table, not a sensor."""
    role: RoleName = "operator"
    """Who asked, by the token that was shown. Plans made before there were roles are all the operator's."""
    nonce: Nonce | None
    """The auditor's challenge, if any."""
