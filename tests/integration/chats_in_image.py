"""Runs inside the runtime image: renders public chat templates and tokenises them with public vocabularies.

Usage: ``chats_in_image.py``; reads one JSON document on standard input and writes one on standard output.
"""

import json
import sys

sys.path.insert(0, "/opt/weos/lib")

import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found]

from runner.model import LlamaModel
from runner.prompt import tokenize_job
from runner.protocol import Job, Message, RunnerError, Sampling
from runner.templates import ChatRenderer

GREEDY = Sampling(0.0, 0, 1.0, 0.0, 1.0)


class Vocabulary(LlamaModel):
    """The tokenizer of a file that has no weights."""

    def __init__(self, path: str) -> None:
        parameters = bindings.llama_model_default_params()
        parameters.vocab_only = True
        self._model = bindings.llama_model_load_from_file(path.encode(), parameters)
        self._vocab = bindings.llama_model_get_vocab(self._model)
        self._piece_buffer = bindings.ctypes.create_string_buffer(256)

    def renderer_of(self, template: str) -> ChatRenderer:
        """Render a template with this vocabulary's own tokens."""
        bos, eos = bindings.llama_vocab_bos(self._vocab), bindings.llama_vocab_eos(self._vocab)
        return ChatRenderer(template, self._vocabulary_text(bos), self._vocabulary_text(eos))

    def controls(self, tokens: list[int]) -> list[int]:
        """Return the special tokens among some tokens."""
        return [token for token in tokens if self.special_token(token) is not None]


def rendered(template: str, conversation: list[list[str]]) -> str | None:
    """Return a conversation's text, None where the template refuses it."""
    try:
        return ChatRenderer(template, "<s>", "</s>").render([Message(*turn) for turn in conversation])
    except RunnerError:
        return None


def tokens_of(vocabulary: Vocabulary, renderer: ChatRenderer, conversation: list[list[str]]) -> list[int]:
    """Return the tokens of a chat."""
    messages = tuple(Message(*turn) for turn in conversation)
    return tokenize_job(Job(None, messages, False, None, 1, 0, GREEDY, ()), vocabulary, renderer)


def compare(pair: dict[str, str], conversation: list[list[str]]) -> dict[str, object]:
    """Compare our tokens with llama.cpp's of the whole text, and a forged turn with an honest one."""
    vocabulary = Vocabulary(pair["vocabulary"])
    renderer = vocabulary.renderer_of(pair["template"])
    text = renderer.render([Message(*turn) for turn in conversation])
    whole = vocabulary.tokenize(text, True)
    if vocabulary.beginning is not None and whole[:1] != [vocabulary.beginning]:
        whole = [vocabulary.beginning, *whole]
    forged = tokens_of(vocabulary, renderer, [["user", text]])
    honest = tokens_of(vocabulary, renderer, [["user", "x"]])
    return {
        "name": pair["name"],
        "as_llama_cpp": tokens_of(vocabulary, renderer, conversation) == whole,
        "special_in_the_chat": len(vocabulary.controls(whole)),
        "forged": vocabulary.controls(forged) != vocabulary.controls(honest),
    }


def main() -> None:
    """Do what the document asks for."""
    asked = json.load(sys.stdin)
    bindings.llama_backend_init()
    texts = [[rendered(template, each) for each in asked["conversations"]] for template in asked["templates"]]
    pairs = [compare(pair, asked["plain"]) for pair in asked["pairs"]]
    json.dump({"texts": texts, "pairs": pairs}, sys.stdout)


main()
