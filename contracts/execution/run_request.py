"""The Run Request: everything a client may ask of the engine (section 5 of the integration specification)."""

import json
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, field_validator, model_validator
from pydantic.config import JsonDict

from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract, Many
from contracts.wire.types import (
    WHOLE,
    BackendName,
    EngineVersion,
    IsolationTier,
    ModelName,
    Nonce,
    PolicyName,
    QuantizationName,
)

__all__ = [
    "MAX_GRAMMAR_BYTES",
    "MAX_MESSAGES",
    "MAX_PROMPT_BYTES",
    "MIN_TEMPERATURE",
    "ONE_OF_PROMPT_AND_MESSAGES",
    "ExecutionRequest",
    "Grammar",
    "GrammarKind",
    "LimitsRequest",
    "Message",
    "PromptForm",
    "RunRequest",
    "Sampling",
    "StopSequence",
    "canonical_messages",
]

# Prompt and grammar are sent to the runner in one JSON line of at most 1 MiB; escaping turns one byte into at most six.
MAX_PROMPT_BYTES = 131_072
MAX_GRAMMAR_BYTES = 32_768
MAX_MESSAGES = 512
MIN_TEMPERATURE = 0.01

StopSequence = Annotated[str, StringConstraints(min_length=1, max_length=64)]
GrammarKind = Literal["gbnf", "json_schema"]
PromptForm = Literal["text", "messages"]


class Grammar(NamedTuple):
    """What the answer must match: a text of one of the two kinds."""

    kind: GrammarKind
    text: str


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
    top_k: Annotated[int, Field(ge=0, le=1000), WHOLE] = 0
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

    max_tokens: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = 256
    """Maximum number of tokens to generate."""
    max_watts: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Maximum average electric power attributed to the execution (`watts_avg`), in watts; null: no limit."""
    timeout_s: Annotated[int, Field(ge=1, le=86_400), WHOLE] | None = None
    """Time limit in seconds, counted from the moment the execution is given its CPUs; null: the policy's default."""


class Message(Contract):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who speaks: `system` instructs the model, `user` asks, `assistant` is an earlier answer of the model."""
    content: Annotated[str, StringConstraints(max_length=MAX_PROMPT_BYTES)]
    """What is said. It stays text: no part of it becomes a control token of the model."""


# The validators of `ExecutionRequest` and `RunRequest` as JSON Schema.
_SPECIAL_ONLY_IN_RAW: JsonDict = {
    "if": {"required": ["parse_special"], "properties": {"parse_special": {"type": "boolean"}}},
    "then": {"required": ["prompt_format"], "properties": {"prompt_format": {"const": "raw"}}},
    "not": {
        "required": ["grammar", "json_schema"],
        "properties": {"grammar": {"type": "string"}, "json_schema": {"type": "object"}},
    },
}
ONE_OF_PROMPT_AND_MESSAGES: JsonDict = {
    "oneOf": [
        {"required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
        {"required": ["messages"], "properties": {"messages": {"type": "array"}}},
    ],
}
_PROMPT_OR_MESSAGES: JsonDict = {
    **ONE_OF_PROMPT_AND_MESSAGES,
    "if": {"required": ["messages"], "properties": {"messages": {"type": "array"}}},
    "then": {"properties": {"execution": {"properties": {"prompt_format": {"enum": ["auto", "chat"]}}}}},
}


class ExecutionRequest(Contract):
    """How to run the model."""

    model_config = ConfigDict(json_schema_extra=_SPECIAL_ONLY_IN_RAW)

    backend: BackendName
    """Name of a build of llama.cpp, such as `cpu_avx2`; `GET /v1/backends` lists the installed ones."""
    quantization: QuantizationName
    """Quantization of the model file, such as `q4_k_m`; `GET /v1/models` lists the installed ones."""
    scheduler_policy: PolicyName = "default"
    """Name of a scheduler policy in `policies/scheduling.toml`. The policy decides how many cores and threads the
    execution gets."""
    limits: LimitsRequest = LimitsRequest()
    """Limits of this execution."""
    context_tokens: Annotated[int, Field(ge=16, le=1_048_576), WHOLE] | None = None
    """Maximum number of tokens of prompt and answer together; null: the policy's default, or the model's maximum if
    that is smaller."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_294), WHOLE] = 0
    """Seed of the random number generator of the sampler. It has no effect at temperature 0."""
    sampling: Sampling = Sampling()
    """How the next token is chosen."""
    stop: Annotated[Many[StopSequence], Field(max_length=8)] = ()
    """Texts that end the answer. The answer is cut off before the first of them. The name of a special token, such as
    `<|im_end|>`, ends the answer at that token."""
    prompt_format: Literal["auto", "chat", "raw"] = "auto"
    """`chat`: the model's own chat template turns the prompt or the messages into text. `raw`: the prompt is passed to
    the model unchanged. `auto`: `chat` where the model file carries a template, otherwise `raw`."""
    parse_special: bool | None = None
    """Whether the names of special tokens in the prompt become those tokens. Only with `prompt_format` `raw`; null:
    true. In a chat, texts of the caller never become special tokens."""
    grammar: Annotated[str, StringConstraints(min_length=1, max_length=MAX_GRAMMAR_BYTES)] | None = None
    """A grammar in GBNF (llama.cpp's notation), with the rule `root`. The answer matches it, unless a limit ends the
    answer early; null: none."""
    json_schema: dict[str, JsonValue] | None = None
    """A JSON Schema. The answer is a JSON document that the schema accepts, unless a limit ends the answer early.
    Keywords that cannot be enforced are refused; null: none."""
    isolation: IsolationTier | None = None
    """Isolation tier of the sandbox: `hardened` (runc) or `gvisor` (runsc). null: the tier that a policy demands,
    otherwise the policy's default. A tier that is not installed, or is weaker than the demanded one, is refused."""

    @property
    def output_grammar(self) -> Grammar | None:
        """What the answer must match; the properties of a schema stay in their order. None: anything."""
        if self.grammar is not None:
            return Grammar("gbnf", self.grammar)
        if self.json_schema is not None:
            return Grammar("json_schema", json.dumps(self.json_schema, ensure_ascii=False, separators=(",", ":")))
        return None

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> "ExecutionRequest":
        if self.parse_special is not None and self.prompt_format != "raw":
            message = "parse_special needs the prompt_format `raw`"
            raise ValueError(message)
        if self.grammar is not None and self.json_schema is not None:
            message = "give either grammar or json_schema"
            raise ValueError(message)
        wanted = self.output_grammar
        if wanted is not None and len(wanted.text.encode("utf-8", "replace")) > MAX_GRAMMAR_BYTES:
            message = f"{wanted.kind} has more than {MAX_GRAMMAR_BYTES} bytes of UTF-8"
            raise ValueError(message)
        return self


def canonical_messages(messages: tuple[Message, ...]) -> bytes:
    """Return a conversation in RFC 8785 form; a plan names the conversation by the digest of these bytes."""
    return canonical_bytes([message.model_dump(mode="json") for message in messages])


class RunRequest(Contract):
    """A request to run one prompt, or one conversation, on one model, once."""

    model_config = ConfigDict(json_schema_extra=_PROMPT_OR_MESSAGES)

    MAX_BYTES: ClassVar[int] = 1_048_576
    READS_WHOLE_FLOATS: ClassVar[bool] = True

    model: ModelName
    """Name of an installed model; `GET /v1/models` lists them."""
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_BYTES)] | None = None
    """The question, or the text to continue: 1 byte to 128 KiB of UTF-8. `execution.prompt_format` decides which; null:
    `messages` is given instead."""
    messages: Annotated[Many[Message], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    """A conversation, oldest turn first: at most 128 KiB of UTF-8. The model answers its last turn; null: `prompt` is
    given instead."""
    execution: ExecutionRequest
    """How to run the model."""
    nonce: Nonce | None = None
    """An auditor's challenge. It becomes part of the plan, which proves that the execution began after the nonce was
    chosen; null: no challenge."""
    engine_version: EngineVersion | None = None
    """The only engine version that may execute the request; any other version refuses it with status 412. null: any
    version."""

    @property
    def prompt_form(self) -> PromptForm:
        """Whether the request has a prompt or messages."""
        return "text" if self.messages is None else "messages"

    @property
    def prompt_bytes(self) -> bytes:
        """The bytes that a plan names by digest: the prompt in UTF-8, or the messages in RFC 8785 form."""
        return (self.prompt or "").encode("utf-8") if self.messages is None else canonical_messages(self.messages)

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The messages; a prompt is one message of the user."""
        return self.messages or (Message(role="user", content=self.prompt or ""),)

    @field_validator("prompt")
    @classmethod
    def _bound_prompt_bytes(cls, prompt: str | None) -> str | None:
        if prompt is not None and len(prompt.encode("utf-8")) > MAX_PROMPT_BYTES:
            message = f"the prompt has more than {MAX_PROMPT_BYTES} bytes of UTF-8"
            raise ValueError(message)
        return prompt

    @field_validator("messages")
    @classmethod
    def _bound_message_bytes(cls, messages: tuple[Message, ...] | None) -> tuple[Message, ...] | None:
        if sum(len(each.content.encode("utf-8")) for each in messages or ()) > MAX_PROMPT_BYTES:
            message = f"the messages have more than {MAX_PROMPT_BYTES} bytes of UTF-8"
            raise ValueError(message)
        return messages

    @model_validator(mode="after")
    def _require_one_prompt(self) -> "RunRequest":
        if (self.prompt is None) == (self.messages is None):
            message = "give either prompt or messages"
            raise ValueError(message)
        if self.messages is not None and self.execution.prompt_format == "raw":
            message = "messages need a chat template; the prompt_format `raw` takes a prompt"
            raise ValueError(message)
        return self
