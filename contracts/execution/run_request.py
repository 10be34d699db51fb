"""The Run Request: everything a client may ask of the engine (section 5 of the integration specification)."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic.config import JsonDict

from contracts.wire.document import Contract, Many
from contracts.wire.types import (
    BackendName,
    EngineVersion,
    IsolationTier,
    ModelName,
    Nonce,
    PolicyName,
    QuantizationName,
)

__all__ = ["MAX_PROMPT_BYTES", "ExecutionRequest", "LimitsRequest", "RunRequest", "Sampling"]

# The prompt is sent to the runner in one JSON line of at most 1 MiB; escaping turns one byte into at most six.
MAX_PROMPT_BYTES = 131_072
MIN_TEMPERATURE = 0.01

StopSequence = Annotated[str, StringConstraints(min_length=1, max_length=64)]


# The two validators of `Sampling` as JSON Schema.
_GREEDY_OR_WARM: JsonDict = {"anyOf": [{"const": 0}, {"minimum": MIN_TEMPERATURE}]}
_GREEDY_DRAWS_NOTHING: JsonDict = {
    "if": {"properties": {"temperature": {"const": 0}}},
    "then": {"properties": {"top_k": {"const": 0}, "top_p": {"const": 1}, "min_p": {"const": 0}}},
}


class Sampling(Contract):
    """How the next token is chosen. The default is greedy: always the most probable token."""

    model_config = ConfigDict(json_schema_extra=_GREEDY_DRAWS_NOTHING)

    temperature: Annotated[float, Field(ge=0, le=2, json_schema_extra=_GREEDY_OR_WARM)] = 0.0
    """0: greedy, always the most probable token. 0.01 to 2: the logits are divided by this number, and a token is drawn
    at random with `seed`. Numbers between 0 and 0.01 are refused."""
    top_k: Annotated[int, Field(ge=0, le=1000)] = 0
    """Draw only among this number of most probable tokens; 0: no such limit. Must be 0 at temperature 0."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw only among the fewest most probable tokens whose probabilities add up to this number; 1: no such limit. Must
    be 1 at temperature 0."""
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Leave out tokens less probable than this fraction of the most probable token; 0: leave out none. Must be 0 at
    temperature 0."""
    repeat_penalty: Annotated[float, Field(ge=0.5, le=2)] = 1.0
    """Divides the logits of the last 64 tokens; 1: no penalty. It also applies at temperature 0."""

    @field_validator("temperature")
    @classmethod
    def _refuse_what_is_neither(cls, temperature: float) -> float:
        # Dividing usual logits by a smaller number overflows 32-bit floats, and the draw is then greedy in effect.
        if 0 < temperature < MIN_TEMPERATURE:
            message = f"temperature must be 0 (greedy) or at least {MIN_TEMPERATURE}"
            raise ValueError(message)
        return temperature

    @model_validator(mode="after")
    def _refuse_values_without_effect(self) -> "Sampling":
        if self.temperature == 0 and (self.top_k, self.top_p, self.min_p) != (0, 1.0, 0.0):
            message = "top_k, top_p and min_p have no effect at temperature 0; leave them out or raise the temperature"
            raise ValueError(message)
        return self


class LimitsRequest(Contract):
    """Limits of one execution. A request is refused if the installation's policy does not allow them."""

    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Maximum number of tokens to generate."""
    max_watts: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Maximum average electric power attributed to the execution (`watts_avg`), in watts; null: no limit."""
    timeout_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """Time limit in seconds, counted from the moment the execution is given its CPUs; null: the policy's default."""


class ExecutionRequest(Contract):
    """How to run the model."""

    backend: BackendName
    """Name of a build of llama.cpp, such as `cpu_avx2`; `GET /v1/backends` lists the installed ones."""
    quantization: QuantizationName
    """Quantization of the model file, such as `q4_k_m`; `GET /v1/models` lists the installed ones."""
    scheduler_policy: PolicyName = "default"
    """Name of a scheduler policy in `policies/scheduling.toml`. The policy decides how many cores and threads the
    execution gets."""
    limits: LimitsRequest = LimitsRequest()
    """Limits of this execution."""
    context_tokens: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    """Maximum number of tokens of prompt and answer together; null: the policy's default, or the model's maximum if
    that is smaller."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_294)] = 0
    """Seed of the random number generator of the sampler. It has no effect at temperature 0."""
    sampling: Sampling = Sampling()
    """How the next token is chosen."""
    stop: Annotated[Many[StopSequence], Field(max_length=8)] = ()
    """Texts that end the answer. The answer is cut off before the first of them."""
    isolation: IsolationTier | None = None
    """Isolation tier of the sandbox: `hardened` (runc) or `gvisor` (runsc). null: the tier that a policy demands,
    otherwise the policy's default. A tier that is not installed, or is weaker than the demanded one, is refused."""


class RunRequest(Contract):
    """A request to run one prompt on one model, once."""

    MAX_BYTES: ClassVar[int] = 1_048_576

    model: ModelName
    """Name of an installed model; `GET /v1/models` lists them."""
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_BYTES)]
    """Text to continue, passed to the model unchanged: 1 byte to 128 KiB of UTF-8."""
    execution: ExecutionRequest
    """How to run the model."""
    nonce: Nonce | None = None
    """An auditor's challenge. It becomes part of the plan, which proves that the execution began after the nonce was
    chosen; null: no challenge."""
    engine_version: EngineVersion | None = None
    """The only engine version that may execute the request; any other version refuses it with status 412. null: any
    version."""

    @field_validator("prompt")
    @classmethod
    def _bound_prompt_bytes(cls, prompt: str) -> str:
        if len(prompt.encode("utf-8")) > MAX_PROMPT_BYTES:
            message = f"the prompt has more than {MAX_PROMPT_BYTES} bytes of UTF-8"
            raise ValueError(message)
        return prompt
