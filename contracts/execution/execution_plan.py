"""The Execution Plan: one resolved execution, every choice explicit and every artifact named by its digest."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

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
    ones is in the record."""
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    """Computing threads."""
    batch_tokens: Annotated[int, Field(ge=1, le=65_536)]
    """Prompt tokens computed at once."""
    repack: bool
    """Whether weights are rearranged at load for the instruction set."""
    omp_wait_policy: Literal["passive", "active"]
    """How idle threads wait at a barrier: asleep or spinning."""
    spin_count: Annotated[int, Field(ge=1, le=1_000_000_000)] | None
    """Turns that a waiting thread spins before it goes to sleep (libgomp's GOMP_SPINCOUNT); null: none or for ever, as
    `omp_wait_policy` says."""
    whole_cores: bool
    """Whether the engine may use every logical CPU of each leased core, so that nothing else runs on them; false: that
    was not asked for."""


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
    role: RoleName
    """Who asked, by the token that was shown."""
    nonce: Nonce | None
    """The auditor's challenge, if any."""
