"""The Execution Plan: one execution, fully resolved; every choice is explicit, every file named by its digest."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.execution.power_evidence import PowerSource
from contracts.execution.run_request import GrammarKind, PromptForm, Sampling, StopSequence
from contracts.execution.runner_protocol import MAX_CONTEXT_TOKENS, MAX_THREADS
from contracts.wire.document import Contract, Many
from contracts.wire.types import (
    BackendName,
    CallerName,
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

__all__ = [
    "ExecutionPlan",
    "ModelSignature",
    "PlannedArtifact",
    "PlannedGrammar",
    "PlannedLimits",
    "PlannedModel",
    "PlannedPrompt",
    "PlannedScheduling",
    "TensorTypeCount",
]


class PlannedArtifact(Contract):
    """Bytes named by their digest, independent of where they are stored."""

    sha256: Digest
    """SHA-256 of the bytes."""
    size_bytes: Count
    """Number of bytes."""


class TensorTypeCount(Contract):
    """How many of a model's weights have one type."""

    type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,16}$")]
    """Name of the type as ggml writes it, in lower case, such as `q4_k`."""
    elements: Positive
    """Number of weights of this type."""


class ModelSignature(Contract):
    """A signature of the model file that was verified when the model was installed (OpenSSF Model Signing v1.0)."""

    signer: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Who signed: `sha256:` and the digest of the public key (SubjectPublicKeyInfo in DER), or the name that a trusted
    authority certified: an email address, a URI, a host name or a distinguished name (RFC 4514)."""
    bundle: Digest
    """SHA-256 of the signature bundle."""


class PlannedModel(PlannedArtifact):
    """The model file."""

    name: ModelName
    """Name under which it is installed."""
    quantization: QuantizationName
    """Quantization, as read from the header of the file."""
    architecture: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """Architecture, as read from the header of the file (`general.architecture`)."""
    mixture: Annotated[Many[TensorTypeCount], Field(min_length=1, max_length=64)]
    """The types of the weights, the most frequent first. A quantization is a name for a mixture of types."""
    chat_template: Digest | None
    """SHA-256 of the chat template in the file, in UTF-8; null: the file carries none."""
    signature: ModelSignature | None
    """The verified signature of the file; null: the file was installed without one."""


class PlannedPrompt(PlannedArtifact):
    """The prompt in UTF-8, or the messages in RFC 8785 form."""

    form: PromptForm
    """`text`: a prompt. `messages`: a conversation."""


class PlannedGrammar(PlannedArtifact):
    """What the answer must match: a text in UTF-8."""

    kind: GrammarKind
    """`gbnf`: a grammar in llama.cpp's notation. `json_schema`: a JSON Schema without white space."""


class PlannedScheduling(Contract):
    """The cores and threads of the execution."""

    policy: PolicyName
    """Name of the scheduler policy."""
    cores: Annotated[int, Field(ge=1, le=4096)]
    """Number of physical cores given to the execution alone, with all their logical CPUs that the engine may use. The
    record says which."""
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    """Number of computing threads."""
    batch_tokens: Annotated[int, Field(ge=1, le=65_536)]
    """Number of prompt tokens that are computed in one batch."""
    repack: bool
    """Whether weights are rearranged for the CPU's instruction set when the model is loaded."""
    omp_wait_policy: Literal["passive", "active"]
    """How idle threads wait at a barrier: `passive` threads sleep, `active` threads spin."""
    spin_count: Annotated[int, Field(ge=1, le=1_000_000_000)] | None
    """Number of turns that a waiting thread spins before it sleeps (libgomp's GOMP_SPINCOUNT); null: `passive` threads
    do not spin, `active` threads spin without end."""
    whole_cores: bool
    """Whether the policy asks for whole cores: the engine may then use every logical CPU of each core, so that nothing
    else runs on them."""


class PlannedLimits(Contract):
    """The limits that are enforced during the execution."""

    max_tokens: Positive
    """Maximum number of tokens to generate."""
    max_watts: Annotated[float, Field(gt=0)] | None
    """Maximum average power attributed to the execution, in watts; null: no limit."""
    timeout_s: Positive
    """Time limit in seconds, counted from the moment the execution is given its CPUs."""
    memory_bytes: Positive
    """Maximum memory of the sandbox in bytes, swap included."""
    output_bytes: Positive
    """Maximum number of bytes that the runner may write."""


class ExecutionPlan(Contract):
    """What will be executed. Equal requests on one installation give equal plans, and so an equal `plan_digest`."""

    schema_version: Literal["weos.execution-plan/1"]
    """Kind and version of this document."""
    engine_version: EngineVersion
    """The engine that executes the plan. The version stands for its exact source."""
    backend: BackendName
    """Name of the build of llama.cpp."""
    runtime_image: Digest
    """Container image, named by the digest of its configuration."""
    model: PlannedModel
    """The model file."""
    prompt: PlannedPrompt
    """Digest and size of the prompt. The plan leaves out the text, because a record can never be deleted."""
    prompt_format: Literal["chat", "raw"]
    """`chat`: the model's chat template turns the prompt into the model's input. `raw`: the prompt is the input."""
    parse_special: bool
    """Whether the names of special tokens in the caller's text become those tokens; false in a chat."""
    grammar: PlannedGrammar | None
    """What the answer must match; null: anything."""
    policies: dict[str, Digest]
    """Digest of every policy file, by file name."""
    scheduling: PlannedScheduling
    """The cores and threads of the execution."""
    context_tokens: Annotated[int, Field(ge=1, le=MAX_CONTEXT_TOKENS)]
    """Maximum number of tokens of prompt and answer together."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_294)]
    """Seed of the random number generator of the sampler."""
    sampling: Sampling
    """How the next token is chosen."""
    stop: Many[StopSequence]
    """Texts that end the answer; empty: none."""
    limits: PlannedLimits
    """The limits that are enforced during the execution."""
    isolation: IsolationTier
    """Isolation tier of the sandbox."""
    power_source: PowerSource
    """The meter in use when the plan was made. `model` is no sensor: power is estimated from CPU time and a declared
    table."""
    role: RoleName
    """Role of the client, which follows from its bearer token."""
    caller: CallerName
    """Name of the client's bearer token; the operator's is `operator`. Each name belongs to one token for ever."""
    nonce: Nonce | None
    """The auditor's challenge; null: none."""
