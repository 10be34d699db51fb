"""The request of `POST /openai/v1/completions`."""

from typing import Annotated

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag

from contracts.api.openai.shared_request import LIST, REQUEST_SCHEMA, TEXT, No, One, SharedRequest, tell_list
from contracts.execution.run_request import MAX_PROMPT_BYTES
from contracts.wire.document import Many
from contracts.wire.types import WHOLE

__all__ = ["CompletionRequest"]

_Prompt = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_BYTES)]


class CompletionRequest(SharedRequest):
    """Asks for the continuation of a text, in OpenAI's shape."""

    model_config = ConfigDict(json_schema_extra=REQUEST_SCHEMA)

    prompt: Annotated[
        Annotated[_Prompt, Tag(TEXT)] | Annotated[Many[_Prompt], Field(min_length=1, max_length=1), Tag(LIST)],
        Discriminator(tell_list),
    ]
    """The text to continue, or a list of this one text: 1 byte to 128 KiB of UTF-8. It reaches the model unchanged,
    without a chat template."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None
    """Maximum number of tokens to generate; null: 16."""
    best_of: One | None = None
    """Number of answers of which the best is returned: 1; null: the same."""
    echo: No | None = None
    """Only false is accepted; null: the same."""
    logprobs: None = None
    """Only null is accepted."""
    suffix: None = None
    """Only null is accepted."""

    @property
    def text(self) -> str:
        """The text to continue."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]
