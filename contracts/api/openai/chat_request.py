"""The request of `POST /openai/v1/chat/completions`."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, JsonValue, StringConstraints, Tag, model_validator
from pydantic.config import JsonDict

from contracts.api.openai.shared_request import LIST, REQUEST_SCHEMA, TEXT, No, SharedRequest, tell_list
from contracts.execution.run_request import MAX_MESSAGES, MAX_PROMPT_BYTES
from contracts.wire.document import Contract, Many
from contracts.wire.types import WHOLE

__all__ = ["ChatCompletionRequest", "ChatMessage", "JsonSchemaFormat", "ResponseFormat", "TextPart"]

Nothing = Annotated[Many[JsonValue], Field(max_length=0)]

# The validators of `ResponseFormat` and `ChatCompletionRequest` as JSON Schema.
_SCHEMA_WHERE_NAMED: JsonDict = {
    "if": {"properties": {"type": {"const": "json_schema"}}},
    "then": {"required": ["json_schema"], "properties": {"json_schema": {"type": "object"}}},
    "else": {"properties": {"json_schema": {"type": "null"}}},
}
_ONE_LIMIT: JsonDict = {
    "not": {
        "required": ["max_tokens", "max_completion_tokens"],
        "properties": {"max_tokens": {"type": "integer"}, "max_completion_tokens": {"type": "integer"}},
    }
}


class TextPart(Contract):
    """One part of a message."""

    type: Literal["text"]
    """Kind of part; models read text only."""
    text: Annotated[str, StringConstraints(max_length=MAX_PROMPT_BYTES)]
    """The text."""


class ChatMessage(Contract):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks. `developer` is the same as `system`."""
    content: Annotated[
        Annotated[str, StringConstraints(max_length=MAX_PROMPT_BYTES), Tag(TEXT)]
        | Annotated[Many[TextPart], Field(min_length=1, max_length=MAX_MESSAGES), Tag(LIST)],
        Discriminator(tell_list),
    ]
    """What is said: a text, or parts that are joined without anything between them."""
    name: None = None
    """Only null is accepted: chat templates know roles, not names."""
    refusal: None = None
    """Only null is accepted, as answers of this engine have it."""
    annotations: Nothing | None = None
    """Only an empty list is accepted; null: the same."""
    audio: None = None
    """Only null is accepted: models read text only."""
    tool_calls: Nothing | None = None
    """Only an empty list is accepted, since models call no tools; null: the same."""
    function_call: None = None
    """Only null is accepted: models call no functions."""

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class JsonSchemaFormat(Contract):
    """A schema that the answer must match."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """The caller's name for the schema. It changes nothing."""
    description: str | None = None
    """The caller's description of the schema. It changes nothing; tell the model in a message."""
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]
    """The JSON Schema. Keywords that cannot be enforced are refused."""
    strict: bool | None = None
    """The schema is enforced in every case, so that this changes nothing."""


class ResponseFormat(Contract):
    """What kind of text the answer is."""

    model_config = ConfigDict(json_schema_extra=_SCHEMA_WHERE_NAMED)

    type: Literal["text", "json_object", "json_schema"]
    """`text`: any. `json_object`: a JSON object. `json_schema`: a JSON document that `json_schema` accepts."""
    json_schema: JsonSchemaFormat | None = None
    """The schema. Required with the type `json_schema`; null: none."""

    @model_validator(mode="after")
    def _require_schema(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            message = "the type `json_schema`, and only this type, takes `json_schema`"
            raise ValueError(message)
        return self

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """The JSON Schema that the answer must match; None: any text."""
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


class ChatCompletionRequest(SharedRequest):
    """Asks for the next turn of a conversation, in OpenAI's shape."""

    model_config = ConfigDict(json_schema_extra={**REQUEST_SCHEMA, **_ONE_LIMIT})

    messages: Annotated[Many[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    """The conversation, oldest turn first: at most 128 KiB of UTF-8."""
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None
    """Maximum number of tokens to generate; null: as many as surely fit the context, see `docs/api.md`."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None
    """The older name of `max_completion_tokens`. Only one of the two may be given; null: not given."""
    response_format: ResponseFormat | None = None
    """What kind of text the answer is; null: any."""
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    """The caller's notes. They belong to stored answers, so that they change nothing here."""
    safety_identifier: str | None = None
    """The caller's name for its user. It changes nothing and is not stored."""
    prompt_cache_key: str | None = None
    """A hint for a cache of prompts. There is none, so that it changes nothing."""
    service_tier: Literal["auto", "default"] | None = None
    """There is one tier, `default`; null: the same."""
    store: No | None = None
    """Only false is accepted; null: the same. Every execution leaves a signed record in any case."""
    modalities: Annotated[Many[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    """Only `["text"]` is accepted; null: the same."""
    logprobs: No | None = None
    """Only false is accepted; null: the same."""
    top_logprobs: None = None
    """Only null is accepted."""
    tools: Nothing | None = None
    """Only an empty list is accepted; null: the same."""
    tool_choice: Literal["none"] | None = None
    """Only `none` is accepted; null: the same."""
    parallel_tool_calls: None = None
    """Only null is accepted."""
    functions: Nothing | None = None
    """Only an empty list is accepted; null: the same."""
    function_call: Literal["none"] | None = None
    """Only `none` is accepted; null: the same."""
    audio: None = None
    """Only null is accepted."""
    prediction: None = None
    """Only null is accepted."""
    web_search_options: None = None
    """Only null is accepted."""
    reasoning_effort: None = None
    """Only null is accepted."""
    verbosity: None = None
    """Only null is accepted."""
    moderation: None = None
    """Only null is accepted."""
    prompt_cache_options: None = None
    """Only null is accepted."""
    prompt_cache_retention: None = None
    """Only null is accepted."""

    @model_validator(mode="after")
    def _require_one_limit(self) -> "ChatCompletionRequest":
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            message = "give either `max_completion_tokens` or `max_tokens`"
            raise ValueError(message)
        return self

    @property
    def limit_name(self) -> str:
        """The name under which the caller gives, or would give, the maximum number of tokens."""
        return "max_completion_tokens" if self.max_tokens is None else "max_tokens"
