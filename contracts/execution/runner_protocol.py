"""The line protocol between supervisor and runner: one JSON object a line, on the container's stdin and stdout.

The supervisor sends `setup`, then `job`. Then it ends the process, or sends `exit`. The runner sends `ready`, then
`prompt`, any number of `token`, and `done`; or `error` at any point. The runner's output is hostile input: all of it is
parsed by `parse_event`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from contracts.execution.run_request import (
    MAX_MESSAGES,
    ONE_OF_PROMPT_AND_MESSAGES,
    GrammarKind,
    Message,
    Sampling,
)
from contracts.wire.document import Contract, Many
from contracts.wire.errors import ContractError, FieldError
from contracts.wire.strict_json import decode_json
from contracts.wire.types import BackendName, Count, Digest

__all__ = [
    "MAX_CONTEXT_TOKENS",
    "MAX_EVENT_BYTES",
    "MAX_THREADS",
    "DoneEvent",
    "ErrorEvent",
    "ExitCommand",
    "FinishReason",
    "JobCommand",
    "JobGrammar",
    "PromptEvent",
    "ReadyEvent",
    "RunnerEvent",
    "SetupCommand",
    "TokenEvent",
    "encode_command",
    "parse_event",
]

# The longest line of an honest runner is `done` with held-back text, or `ready` with its features: under 2 KiB.
MAX_EVENT_BYTES = 16_384

# The runner's own parser shares no code with this one, but has the same bounds; it refuses commands beyond them.
MAX_CONTEXT_TOKENS = 1_048_576
# ggml's own limit (GGML_MAX_N_THREADS).
MAX_THREADS = 512
_Tokens = Annotated[int, Field(ge=1, le=MAX_CONTEXT_TOKENS)]

FinishReason = Literal["length", "eos", "stop"]
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class SetupCommand(Contract):
    """First line to the runner: what to load. It is sent before any part of a request enters the sandbox."""

    type: Literal["setup"] = "setup"
    """Kind of line."""
    protocol: Literal[1] = 1
    """Version of this protocol."""
    model_path: Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$", max_length=4096)]
    """Path of the model file inside the container."""
    context_tokens: _Tokens
    """Maximum number of tokens of prompt and answer together."""
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    """Number of computing threads."""
    batch_tokens: _Tokens
    """Number of prompt tokens that are computed in one batch."""
    repack: bool
    """Whether to rearrange weights for the CPU's instruction set when the model is loaded."""


class JobGrammar(Contract):
    """What the answer must match."""

    kind: GrammarKind
    """Notation of `text`."""
    text: str
    """The grammar in GBNF, or the JSON Schema."""


class JobCommand(Contract):
    """Second line to the runner: its only job."""

    model_config = ConfigDict(json_schema_extra=ONE_OF_PROMPT_AND_MESSAGES)

    type: Literal["job"] = "job"
    """Kind of line."""
    prompt: str | None
    """Text to continue; null: `messages` is given."""
    messages: Annotated[Many[Message], Field(min_length=1, max_length=MAX_MESSAGES)] | None
    """Conversation for the model's chat template; null: `prompt` is given."""
    parse_special: bool
    """Whether the names of special tokens in `prompt` become those tokens; false with `messages`."""
    grammar: JobGrammar | None
    """What the answer must match; null: anything."""
    max_tokens: _Tokens
    """Maximum number of tokens to generate."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_294)]
    """Seed of the random number generator of the sampler."""
    sampling: Sampling
    """How the next token is chosen."""
    stop: Annotated[Many[Annotated[str, StringConstraints(min_length=1, max_length=1024)]], Field(max_length=16)]
    """Texts that end the answer; empty: none."""

    @model_validator(mode="after")
    def _require_one_prompt(self) -> "JobCommand":
        if (self.prompt is None) == (self.messages is None):
            message = "give either prompt or messages"
            raise ValueError(message)
        return self


class ExitCommand(Contract):
    """Last line to a runner that is not killed: the meters have been read, so the process may exit."""

    type: Literal["exit"] = "exit"
    """Kind of line."""


class LoadedModel(Contract):
    """The runner's description of the model file."""

    architecture: _Word
    """Value of `general.architecture` in the file."""
    context_length: Count
    """Largest context that the model was trained for, in tokens."""
    description: Annotated[str, StringConstraints(max_length=256)]
    """llama.cpp's description of the model."""
    has_chat_template: bool
    """Whether the file carries a chat template, so that the runner takes messages."""


class ReadyEvent(Contract):
    """The model is loaded, its context is created and lock two is on; the runner waits for its job."""

    type: Literal["ready"]
    """Kind of line."""
    protocol: Literal[1]
    """Version of this protocol."""
    backend: BackendName
    """The backend that the image was built for."""
    cpu_features: Annotated[Many[_Word], Field(max_length=64)]
    """CPU instruction sets in use, as ggml reports them."""
    llama_cpp_version: _Word
    """Version of the llama.cpp bindings in the image."""
    model: LoadedModel
    """Description of the loaded model."""
    lockdown_policy: Digest
    """SHA-256 of the `lockdown.json` from which the image's lock two was compiled: the system call filter that the
    runner puts on itself."""


class PromptEvent(Contract):
    """The whole prompt has been computed (prefill is over)."""

    type: Literal["prompt"]
    """Kind of line."""
    tokens: Annotated[int, Field(ge=1, le=1_048_576)]
    """Number of tokens in the prompt."""


class TokenEvent(Contract):
    """One token was generated."""

    type: Literal["token"]
    """Kind of line."""
    index: Count
    """Position of the token in the answer; 0 is the first."""
    token_id: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """Number of the token in the model's vocabulary."""
    text: Annotated[str, StringConstraints(max_length=4096)]
    """Text that is now final. Empty while an incomplete character or a possible stop text is held back."""


class DoneEvent(Contract):
    """The job has ended."""

    type: Literal["done"]
    """Kind of line."""
    finish_reason: FinishReason
    """`length`: `max_tokens` was reached. `eos`: the model ended its answer. `stop`: a stop text or a
    special token of the request's `stop` occurred."""
    tokens: Count
    """Number of `token` events before this event."""
    text: Annotated[str, StringConstraints(max_length=4096)]
    """Text that was held back until now; it belongs at the end of the answer."""


class ErrorEvent(Contract):
    """The runner has failed and will do nothing more."""

    type: Literal["error"]
    """Kind of line."""
    code: Literal[
        "protocol_error",
        "model_load_failed",
        "context_failed",
        "out_of_memory",
        "lockdown_failed",
        "context_overflow",
        "empty_prompt",
        "template_refused",
        "template_failed",
        "grammar_invalid",
        "decode_failed",
    ]
    """Stable identifier of the failure."""
    message: Annotated[str, StringConstraints(max_length=512)]
    """Explanation for a person; it contains nothing of the prompt or the answer. Before the job it holds llama.cpp's
    own words about a model that it refuses."""
    prompt_tokens: Annotated[int, Field(ge=0, le=1_048_576)] | None = None
    """Number of tokens in the prompt, given with `context_overflow`; null: not given."""

    MAX_BYTES: ClassVar[int] = MAX_EVENT_BYTES


RunnerEvent = ReadyEvent | PromptEvent | TokenEvent | DoneEvent | ErrorEvent
_EVENTS: TypeAdapter[RunnerEvent] = TypeAdapter(Annotated[RunnerEvent, Field(discriminator="type")])


def parse_event(line: bytes) -> RunnerEvent:
    """Parse one line of the runner's output.

    Raises:
        ContractError: the line is not exactly one known event. The message quotes nothing of the line.
    """
    decode_json(line, max_bytes=MAX_EVENT_BYTES)
    try:
        return _EVENTS.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        fault = FieldError(field="", code=first["type"], message="not an event of the runner protocol")
        raise ContractError("schema_violation", (fault,)) from None


def encode_command(command: SetupCommand | JobCommand | ExitCommand) -> bytes:
    """Return a command as one line for the runner's stdin, newline included."""
    return command.model_dump_json(ensure_ascii=True).encode("ascii") + b"\n"
