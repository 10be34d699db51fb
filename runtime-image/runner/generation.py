"""One generation, from prompt to finish reason, over any model that computes the tokens."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from runner.events import Event, done_event, prompt_event, token_event
from runner.prompt import Renderer, Tokenizer, find_stop_tokens, tokenize_job
from runner.protocol import Grammar, Job, RunnerError, Sampling
from runner.text import TextStream

__all__ = ["Model", "generate"]


class Model(Tokenizer, Protocol):
    """A loaded model with one context, used for one job.

    `prefill` and `decode` raise RunnerError (decode_failed or out_of_memory), `constrain` and `sample` too
    (grammar_invalid); the others do not fail.
    """

    @property
    def context_tokens(self) -> int:
        """Tokens that fit: the prompt's and the generated ones together."""
        ...

    @property
    def renderer(self) -> Renderer | None:
        """The chat template; None where the model file carries none."""
        ...

    def constrain(self, grammar: Grammar) -> None:
        """Let the answer match a grammar."""
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
        RunnerError: empty_prompt, template_refused, template_failed, context_overflow, grammar_invalid,
            decode_failed or out_of_memory.
    """
    tokens = tokenize_job(job, model, model.renderer)
    count = len(tokens)
    if count == 0:
        message = "the prompt holds no token"
        raise RunnerError("empty_prompt", message)
    if count + job.max_tokens > model.context_tokens:
        message = f"{count} prompt tokens and {job.max_tokens} to generate exceed {model.context_tokens}"
        raise RunnerError("context_overflow", message, prompt_tokens=count)
    if job.grammar is not None:
        model.constrain(job.grammar)
    model.prefill(tokens)
    model.start_sampling(job.sampling, job.seed, tokens)
    yield prompt_event(count)
    yield from _generate_tokens(model, job)


def _generate_tokens(model: Model, job: Job) -> Iterator[Event]:
    stream = TextStream(job.stop)
    stop_tokens = find_stop_tokens(job.stop, model)
    generated = 0
    finish_reason = "length"
    while generated < job.max_tokens:
        token_id = model.sample()
        if model.is_end(token_id):
            finish_reason = "eos"
            break
        if token_id in stop_tokens:
            finish_reason = "stop"
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
    rest = stream.finish()
    # The end of the answer may complete a stop text: a character that was cut off becomes U+FFFD.
    yield done_event("stop" if stream.stopped else finish_reason, generated, rest)
