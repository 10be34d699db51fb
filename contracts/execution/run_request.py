"""The Run Request: everything an agent may ask of the engine (section 5 of the integration specification)."""

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

# A prompt travels to the runner as one JSON line of at most 1 MiB; the worst escape makes six bytes of one.
MAX_PROMPT_BYTES = 131_072
MIN_TEMPERATURE = 0.01

StopSequence = Annotated[str, StringConstraints(min_length=1, max_length=64)]


# The two validators of `Sampling` in the words of JSON Schema.
_GREEDY_OR_WARM: JsonDict = {"anyOf": [{"const": 0}, {"minimum": MIN_TEMPERATURE}]}
_GREEDY_DRAWS_NOTHING: JsonDict = {
    "if": {"properties": {"temperature": {"const": 0}}},
    "then": {"properties": {"top_k": {"const": 0}, "top_p": {"const": 1}, "min_p": {"const": 0}}},
}


class Sampling(Contract):
    """How the next token is chosen. The default is greedy: the most probable token, always."""

    model_config = ConfigDict(json_schema_extra=_GREEDY_DRAWS_NOTHING)

    temperature: Annotated[float, Field(ge=0, le=2, json_schema_extra=_GREEDY_OR_WARM)] = 0.0
    """0 is greedy. From 0.01 on the distribution is divided by it and one token is drawn with `seed`."""
    top_k: Annotated[int, Field(ge=0, le=1000)] = 0
    """Draw among the k most probable tokens; 0 is no such limit. Only with temperature above 0."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw among the fewest tokens that together have this probability. Only with temperature above 0."""
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Drop tokens less probable than this fraction of the most probable one. Only with temperature above 0."""
    repeat_penalty: Annotated[float, Field(ge=0.5, le=2)] = 1.0
    """Divides the logits of the last 64 tokens; 1 is none. Works with greedy too."""

    @field_validator("temperature")
    @classmethod
    def _refuse_what_is_neither(cls, temperature: float) -> float:
        # Below this a 32-bit division by it overflows for usual logits, and the draw is greedy in all but name.
        if 0 < temperature < MIN_TEMPERATURE:
            message = f"a temperature is 0 (greedy) or at least {MIN_TEMPERATURE}"
            raise ValueError(message)
        return temperature

    @model_validator(mode="after")
    def _refuse_values_without_effect(self) -> "Sampling":
        if self.temperature == 0 and (self.top_k, self.top_p, self.min_p) != (0, 1.0, 0.0):
            message = "top_k, top_p and min_p have no effect at temperature 0; leave them out or raise the temperature"
            raise ValueError(message)
        return self


class LimitsRequest(Contract):
    """What one execution may use. The installation's policy may allow less; then the request is refused."""

    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Generated tokens at most."""
    max_watts: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Average electric power attributed to the execution (`watts_avg`), in watts; null sets no limit."""
    timeout_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """Seconds from the lease of its CPUs to its end; null takes the policy's default."""


class ExecutionRequest(Contract):
    """How the model is to be run."""

    backend: BackendName
    """One build of llama.cpp, such as `cpu_avx2`; `GET /v1/backends` lists those installed."""
    quantization: QuantizationName
    """The quantization of the model file, such as `q4_k_m`; `GET /v1/models` lists those installed."""
    scheduler_policy: PolicyName = "default"
    """A policy of `policies/scheduling.toml`: how the execution gets cores and threads."""
    limits: LimitsRequest = LimitsRequest()
    """Upper bounds of this execution."""
    context_tokens: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    """Room for prompt and answer together; null takes the policy's default or the model's maximum if smaller."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_294)] = 0
    """Seed of the sampler. Greedy sampling draws nothing, so there it changes nothing."""
    sampling: Sampling = Sampling()
    """How the next token is chosen."""
    stop: Annotated[Many[StopSequence], Field(max_length=8)] = ()
    """Texts that end the answer; the answer is cut before the first of them."""
    isolation: IsolationTier | None = None
    """Isolation tier of the sandbox: `hardened` (runc) or `gvisor` (runsc). null takes the policy's default, or what a
    policy demands. A tier that is not there, or weaker than a demanded one, is refused."""


class RunRequest(Contract):
    """One request to run one prompt on one model, once."""

    MAX_BYTES: ClassVar[int] = 1_048_576

    model: ModelName
    """Name of an installed model; `GET /v1/models` lists them."""
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_BYTES)]
    """The text to continue, given to the model as it stands: 1 byte to 128 KiB of UTF-8."""
    execution: ExecutionRequest
    """How to run it."""
    nonce: Nonce | None = None
    """An auditor's challenge: it enters the plan and so proves that the execution came after it."""
    engine_version: EngineVersion | None = None
    """Refuse (412) unless the engine is this version; null accepts whichever is running."""

    @field_validator("prompt")
    @classmethod
    def _bound_prompt_bytes(cls, prompt: str) -> str:
        if len(prompt.encode("utf-8")) > MAX_PROMPT_BYTES:
            message = f"the prompt has more than {MAX_PROMPT_BYTES} bytes of UTF-8"
            raise ValueError(message)
        return prompt
