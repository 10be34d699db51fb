"""Runs inside the runtime image: converts schemas, holds documents against the grammars, and lets the model answer.

Usage: ``grammars_in_image.py MODEL``; reads one JSON document on standard input and writes one on standard output.
"""

import ctypes
import json
import math
import sys

sys.path.insert(0, "/opt/weos/lib")

import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found]

from runner.generation import generate
from runner.grammar import to_gbnf
from runner.model import LlamaModel
from runner.protocol import Grammar, Job, Message, RunnerError, Sampling, Setup

CONTEXT_TOKENS = 512
# Greedy, with what keeps a small model from repeating itself.
STEADY = Sampling(0.0, 0, 1.0, 0.0, 1.1)


class Answering(LlamaModel):
    """A model that answers one job after another."""

    def forget(self) -> None:
        """Forget the last job and its grammar."""
        bindings.llama_memory_clear(bindings.llama_get_memory(self._context), True)
        self._position = 0
        self._constraint = None

    def matches(self, gbnf: str, text: str) -> bool:
        """Return whether llama.cpp's grammar allows a text, token by token, and an end after it."""
        sampler = bindings.llama_sampler_init_grammar(self._vocab, gbnf.encode(), b"root")
        if not sampler:
            raise ValueError(gbnf)
        try:
            for token_id in [*self.tokenize(text, False), bindings.llama_vocab_eos(self._vocab)]:
                if not _allows(sampler, token_id):
                    return False
                bindings.llama_sampler_accept(sampler, token_id)
        finally:
            bindings.llama_sampler_free(sampler)
        return True


def _allows(sampler: object, token_id: int) -> bool:
    one = bindings.llama_token_data(token_id, 0.0, 0.0)
    pointer = ctypes.cast(ctypes.pointer(one), bindings.llama_token_data_p)
    bindings.llama_sampler_apply(sampler, ctypes.byref(bindings.llama_token_data_array(pointer, 1, -1, False)))
    return bool(one.logit != -math.inf)


def convert(model: Answering, schema: dict[str, object]) -> dict[str, object]:
    """Return a schema's grammar, and which of its documents the grammar allows."""
    gbnf = to_gbnf(Grammar("json_schema", str(schema["text"])))
    documents = schema["documents"]
    return {"gbnf": gbnf, "allowed": [model.matches(gbnf, text) for text in documents]}  # type: ignore[attr-defined]


def answer(model: Answering, asked: dict[str, str], max_tokens: int) -> dict[str, object]:
    """Return the model's answer to a question under a grammar, or the code of the failure."""
    model.forget()
    job = Job(
        prompt=None,
        messages=(Message("user", asked["question"]),),
        parse_special=False,
        grammar=Grammar(asked["kind"], asked["text"]),
        max_tokens=max_tokens,
        seed=0,
        sampling=STEADY,
        stop=(),
    )
    try:
        events = list(generate(model, job))
    except RunnerError as error:
        return {"text": "", "finish_reason": error.code}
    text = "".join(str(event["text"]) for event in events if event["type"] in {"token", "done"})
    return {"text": text, "finish_reason": events[-1]["finish_reason"]}


def main() -> None:
    """Do what the document asks for."""
    asked = json.load(sys.stdin)
    model = Answering(Setup(sys.argv[1], CONTEXT_TOKENS, 2, CONTEXT_TOKENS, True))
    converted = [convert(model, schema) for schema in asked["schemas"]]
    answers = [answer(model, each, asked["max_tokens"]) for each in asked["answers"]]
    json.dump({"converted": converted, "answers": answers}, sys.stdout)


main()
