"""One generation, from prompt to finish reason, over any model that computes the tokens."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from runner.protocol import Event, Job, RunnerError, Sampling, done_event, prompt_event, token_event
from runner.text import TextStream

__all__ = ["Model", "generate"]


class Model(Protocol):
    """A loaded model with one context, used for one job.

    `prefill` and `decode` raise RunnerError (decode_failed); the others do not fail.
    """

    @property
    def context_tokens(self) -> int:
        """Tokens that fit: the prompt's and the generated ones together."""
        ...

    def count_and_tokens(self, prompt: str) -> tuple[int, Sequence[int]]:
        """Tokenise; where there are more tokens than fit, return their number and none of them."""
        ...

    def prefill(self, tokens: Sequence[int]) -> None:
        """Process the prompt."""
        ...

    def start_sampling(self, sampling: Sampling, seed: int, prompt_tokens: Sequence[int]) -> None:
        """Prepare the choice of tokens."""
        ...

    def sample(self) -> int:
        """Choose the next token."""
        ...

    def is_end(self, token_id: int) -> bool:
        """Return whether a token is one of the model's end-of-generation tokens."""
        ...

    def piece(self, token_id: int) -> bytes:
        """Return a token's bytes: not always whole characters."""
        ...

    def decode(self, token_id: int) -> None:
        """Process a generated token."""
        ...


def generate(model: Model, job: Job) -> Iterator[Event]:
    """Yield the events of a job, each when it happens.

    Raises:
        RunnerError: empty_prompt, context_overflow or decode_failed.
    """
    count, tokens = model.count_and_tokens(job.prompt)
    if not job.prompt or count == 0:
        message = "the prompt holds no token"
        raise RunnerError("empty_prompt", message)
    if count + job.max_tokens > model.context_tokens:
        message = f"{count} prompt tokens and {job.max_tokens} to generate exceed {model.context_tokens}"
        raise RunnerError("context_overflow", message, prompt_tokens=count)
    model.prefill(tokens)
    model.start_sampling(job.sampling, job.seed, tokens)
    yield prompt_event(count)
    yield from _generate_tokens(model, job)


def _generate_tokens(model: Model, job: Job) -> Iterator[Event]:
    stream = TextStream(job.stop)
    generated = 0
    finish_reason = "length"
    while generated < job.max_tokens:
        token_id = model.sample()
        if model.is_end(token_id):
            finish_reason = "eos"
            break
        text = stream.feed(model.piece(token_id))
        yield token_event(generated, token_id, text)
        generated += 1
        if stream.stopped:
            finish_reason = "stop"
            break
        # Nothing is sampled after the last token, so nothing needs its logits.
        if generated < job.max_tokens:
            model.decode(token_id)
    yield done_event(finish_reason, generated, stream.finish())
