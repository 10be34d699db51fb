"""The fields of both requests in OpenAI's shape. One that cannot be honoured accepts only values that ask nothing."""

from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from contracts.execution.run_request import MIN_TEMPERATURE, StopSequence
from contracts.wire.document import Contract, Many
from contracts.wire.types import WHOLE

__all__ = [
    "LIST",
    "REQUEST_SCHEMA",
    "TEXT",
    "No",
    "NoDict",
    "One",
    "SharedRequest",
    "StreamOptions",
    "Zero",
    "tell_list",
]

# Names of the two forms of a field that is a text or a list. They stand in the place of a fault, and no field has them.
TEXT, LIST = "<text>", "<list>"

One = Annotated[int, Field(ge=1, le=1), WHOLE]
Zero = Annotated[float, Field(ge=0, le=0)]


def _refuse_true(value: bool) -> bool:
    if value:
        message = "only false is accepted"
        raise ValueError(message)
    return value


# A `Literal[False]` accepts 0 too.
No = Annotated[bool, Field(json_schema_extra={"const": False}), AfterValidator(_refuse_true)]
NoDict = Annotated[dict[str, JsonValue], Field(max_length=0)]

# The validators of `SharedRequest` as JSON Schema.
_GREEDY_OR_WARM: JsonDict = {"anyOf": [{"const": 0}, {"minimum": MIN_TEMPERATURE}]}
REQUEST_SCHEMA: JsonDict = {
    "if": {"required": ["stream_options"], "properties": {"stream_options": {"type": "object"}}},
    "then": {"required": ["stream"], "properties": {"stream": {"const": True}}},
}


def tell_list(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return which form of a field that is a text or a list a value has."""
    return LIST if isinstance(value, list | tuple) else TEXT


class StreamOptions(Contract):
    """What a stream holds beside the text."""

    include_usage: bool | None = None
    """Whether the stream's last chunk has the usage; null: it has not."""
    include_obfuscation: No | None = None
    """Chunks are never padded, so that only false is accepted; null: the same."""


class SharedRequest(Contract):
    """The fields of both requests."""

    READS_WHOLE_FLOATS: ClassVar[bool] = True

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """An installed model: `NAME:QUANTIZATION`, or `NAME` if it is installed in one quantization only."""
    stream: bool | None = None
    """Whether the answer comes in pieces, as server-sent events; null: in one piece."""
    stream_options: StreamOptions | None = None
    """What a stream holds beside the text. Only with `stream`; null: nothing."""
    temperature: Annotated[float, Field(ge=0, le=2, json_schema_extra=_GREEDY_OR_WARM)] | None = None
    """0: always the most probable token. 0.01 to 2: the logits are divided by this number, and a token is drawn at
    random with `seed`. null: 1."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Draw only among the fewest most probable tokens whose probabilities add up to this number. It changes nothing at
    temperature 0, and 0 is the same as temperature 0. null: 1, no such limit."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_294), WHOLE] | None = None
    """Seed of the random number generator of the sampler. It is never chosen at random; null: 0."""
    stop: (
        Annotated[
            Annotated[StopSequence, Tag(TEXT)] | Annotated[Many[StopSequence], Field(max_length=8), Tag(LIST)],
            Discriminator(tell_list),
        ]
        | None
    ) = None
    """A text, or up to 8 texts, that end the answer; null: none."""
    n: One | None = None
    """Number of answers: 1; null: the same."""
    frequency_penalty: Zero | None = None
    """Only 0 is accepted; null: the same."""
    presence_penalty: Zero | None = None
    """Only 0 is accepted; null: the same."""
    logit_bias: NoDict | None = None
    """Only an empty object is accepted; null: the same."""
    user: str | None = None
    """The caller's name for its user. It changes nothing and is not stored."""

    @field_validator("temperature")
    @classmethod
    def _refuse_what_is_neither(cls, temperature: float | None) -> float | None:
        if temperature is not None and 0 < temperature < MIN_TEMPERATURE:
            message = f"it must be 0 (greedy) or at least {MIN_TEMPERATURE}"
            raise ValueError(message)
        return temperature

    @model_validator(mode="after")
    def _require_stream(self) -> "SharedRequest":
        if self.stream_options is not None and not self.stream:
            message = "`stream_options` is only allowed with `stream`: true"
            raise ValueError(message)
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else (self.stop or ())

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)
