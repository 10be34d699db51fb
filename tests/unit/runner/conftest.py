"""The runner's package, and a model whose tokens the test writes down."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

# The runner is no part of the distribution: it is found where the image build takes it from.
sys.path.insert(0, str(Path(__file__).parents[3] / "runtime-image"))

from runner.generation import Model
from runner.prompt import Renderer, SpecialToken
from runner.protocol import Grammar, RunnerError, Sampling

END_TOKEN = 0
STOP_TOKEN = 99
STOP_NAME = "<|stop|>"


class ScriptedEngine:
    """Implements Model: one prompt token a word, then the given pieces, then the end token."""

    def __init__(self, pieces: Sequence[bytes], context_tokens: int = 64, failing_decode: int | None = None) -> None:
        self.context_tokens = context_tokens
        self.beginning: int | None = None
        self.ending: int | None = None
        self.renderer: Renderer | None = None
        self.calls: list[str] = []
        self._pieces = list(pieces)
        self._sampled = 0
        self._decoded = 0
        self._failing_decode = failing_decode

    def tokenize(self, text: str, parse_special: bool) -> list[int]:
        if parse_special and text == STOP_NAME:
            return [STOP_TOKEN]
        return list(range(1, len(text.split()) + 1))

    def special_token(self, token_id: int) -> SpecialToken | None:
        if token_id != STOP_TOKEN:
            return None
        return SpecialToken(STOP_TOKEN, STOP_NAME, is_control=True, strips_left=False, strips_right=False)

    def constrain(self, grammar: Grammar) -> None:
        self.calls.append(f"constrain {grammar.kind}")
        if not grammar.text:
            message = "the grammar is empty"
            raise RunnerError("grammar_invalid", message)

    def prefill(self, tokens: Sequence[int]) -> None:
        self.calls.append(f"prefill {len(tokens)}")

    def start_sampling(self, sampling: Sampling, seed: int, prompt_tokens: Sequence[int]) -> None:
        self.calls.append(f"start {sampling.temperature} {seed} {len(prompt_tokens)}")

    def sample(self) -> int:
        self.calls.append("sample")
        self._sampled += 1
        if self._sampled > len(self._pieces):
            return END_TOKEN
        return STOP_TOKEN if self._pieces[self._sampled - 1] == STOP_NAME.encode() else self._sampled

    def is_end(self, token_id: int) -> bool:
        return token_id == END_TOKEN

    def piece(self, token_id: int) -> bytes:
        return self._pieces[token_id - 1]

    def decode(self, token_id: int) -> None:
        self.calls.append(f"decode {token_id}")
        if self._decoded == self._failing_decode:
            message = "llama_decode answered 1"
            raise RunnerError("decode_failed", message)
        self._decoded += 1


@pytest.fixture
def scripted() -> Callable[..., Model]:
    return ScriptedEngine
