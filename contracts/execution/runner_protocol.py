"""The line protocol between supervisor and runner: one JSON object a line, on the container's stdin and stdout.

Supervisor: `setup`, then `job`; then it ends the process, or says `exit`. Runner: `ready`, then `prompt`, any number of
`token`, and `done`; or `error` at any point. What the runner writes is hostile input: `parse_event` is its only way in.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from contracts.execution.run_request import Sampling
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
    "PromptEvent",
    "ReadyEvent",
    "RunnerEvent",
    "SetupCommand",
    "TokenEvent",
    "encode_command",
    "parse_event",
]

# The longest honest line is `done` with a held-back stop sequence, or `ready` with its feature list: under 2 KiB.
MAX_EVENT_BYTES = 16_384

# Bounds of the runner's own parser, which shares no code with this one; beyond them it refuses a command.
MAX_CONTEXT_TOKENS = 1_048_576
# ggml's own limit (GGML_MAX_N_THREADS).
MAX_THREADS = 512
_Tokens = Annotated[int, Field(ge=1, le=MAX_CONTEXT_TOKENS)]

FinishReason = Literal["length", "eos", "stop"]
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class SetupCommand(Contract):
    """First line in: what to load, before anything of a request enters the sandbox."""

    type: Literal["setup"] = "setup"
    protocol: Literal[1] = 1
    model_path: Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$", max_length=4096)]
    """Path of the model file inside the container."""
    context_tokens: _Tokens
    """Room for prompt and answer together."""
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    """Computing threads."""
    batch_tokens: _Tokens
    """Prompt tokens computed at once."""
    repack: bool
    """Whether weights are rearranged at load."""


class JobCommand(Contract):
    """Second line in: the one job."""

    type: Literal["job"] = "job"
    prompt: str
    """The text to continue."""
    max_tokens: _Tokens
    """Generated tokens at most."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_294)]
    """Seed of the sampler."""
    sampling: Sampling
    """How the next token is chosen."""
    stop: Annotated[Many[Annotated[str, StringConstraints(min_length=1, max_length=1024)]], Field(max_length=16)]
    """Texts that end the answer."""


class ExitCommand(Contract):
    """Last line in, from whoever does not end the process: the meters have been read, it may end by itself."""

    type: Literal["exit"] = "exit"


class LoadedModel(Contract):
    """What the runner found in the model file."""

    architecture: _Word
    """Value of `general.architecture`."""
    context_length: Count
    """Largest context the model was trained for, in tokens."""
    description: Annotated[str, StringConstraints(max_length=256)]
    """llama.cpp's own words for the model."""


class ReadyEvent(Contract):
    """The model is loaded, the context is made and the second lock is on; a job may come."""

    type: Literal["ready"]
    protocol: Literal[1]
    backend: BackendName
    """The backend that the image was built for."""
    cpu_features: Annotated[Many[_Word], Field(max_length=64)]
    """Instruction sets in use, as ggml reports them."""
    llama_cpp_version: _Word
    """Version of the bindings in the image."""
    model: LoadedModel
    """What was loaded."""
    lockdown_policy: Digest
    """The `lockdown.json` that the image's second lock was compiled from."""


class PromptEvent(Contract):
    """The prompt has been computed (prefill is over)."""

    type: Literal["prompt"]
    tokens: Annotated[int, Field(ge=1, le=1_048_576)]
    """Tokens of the prompt."""


class TokenEvent(Contract):
    """One token was generated."""

    type: Literal["token"]
    index: Count
    """0 for the first."""
    token_id: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """Number in the model's vocabulary."""
    text: Annotated[str, StringConstraints(max_length=4096)]
    """Text that became certain; empty while half a character or a possible stop sequence is held back."""


class DoneEvent(Contract):
    """The job is over."""

    type: Literal["done"]
    finish_reason: FinishReason
    """`length`: max_tokens reached; `eos`: the model ended; `stop`: a stop sequence was met."""
    tokens: Count
    """Number of token events before this one."""
    text: Annotated[str, StringConstraints(max_length=4096)]
    """Text still held back, to append."""


class ErrorEvent(Contract):
    """The runner cannot go on."""

    type: Literal["error"]
    code: Literal[
        "protocol_error",
        "model_load_failed",
        "context_failed",
        "lockdown_failed",
        "context_overflow",
        "empty_prompt",
        "decode_failed",
    ]
    """Which fault."""
    message: Annotated[str, StringConstraints(max_length=512)]
    """Words for a person; holds nothing of prompt or output."""
    prompt_tokens: Annotated[int, Field(ge=0, le=1_048_576)] | None = None
    """With `context_overflow`: tokens of the prompt."""

    MAX_BYTES: ClassVar[int] = MAX_EVENT_BYTES


RunnerEvent = ReadyEvent | PromptEvent | TokenEvent | DoneEvent | ErrorEvent
_EVENTS: TypeAdapter[RunnerEvent] = TypeAdapter(Annotated[RunnerEvent, Field(discriminator="type")])


def parse_event(line: bytes) -> RunnerEvent:
    """Parse one line of the runner's output.

    Raises:
        ContractError: it is not exactly one known event. The message quotes nothing of the line.
    """
    decode_json(line, max_bytes=MAX_EVENT_BYTES)
    try:
        return _EVENTS.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        fault = FieldError(field="", code=first["type"], message="not an event of the runner protocol")
        raise ContractError("schema_violation", (fault,)) from None


def encode_command(command: SetupCommand | JobCommand | ExitCommand) -> bytes:
    """Return one line for the runner's stdin, newline included."""
    return command.model_dump_json(ensure_ascii=True).encode("ascii") + b"\n"
