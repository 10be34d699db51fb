"""The choice of tokens under a grammar, with llama.cpp's grammar sampler."""

import ctypes
import math
from collections.abc import Callable
from typing import Any

# Part of the image only, so a type checker outside it finds nothing.
import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found]

from runner.grammar import to_gbnf
from runner.protocol import Grammar, RunnerError

__all__ = ["Constraint"]

# llama_token_data: the token, its logit and its probability, 4 bytes each.
DATA_WORDS = 3


def _array(data: "ctypes._Pointer[Any]", size: int) -> ctypes.Structure:
    pointer = ctypes.cast(data, bindings.llama_token_data_p)
    array: ctypes.Structure = bindings.llama_token_data_array(pointer, size, -1, False)
    return array


class Constraint:
    """A grammar, and the candidates for the next token.

    As in llama.cpp's own tools, the model chooses freely first, and the grammar looks at that one token. Only where the
    grammar refuses the token is the whole vocabulary held against the grammar, and the choice repeated among the rest.
    """

    def __init__(self, vocab: object, grammar: Grammar, is_silent: Callable[[int], bool]) -> None:
        """Parse the grammar.

        Args:
            vocab: the model's vocabulary.
            grammar: what the answer must match.
            is_silent: whether a token adds no text to the answer and does not end it. llama.cpp takes such a token for
                the characters of its name; in the answer, they would be missing.

        Raises:
            RunnerError: grammar_invalid.
        """
        self._sampler = bindings.llama_sampler_init_grammar(vocab, to_gbnf(grammar).encode("utf-8"), b"root")
        if not self._sampler:
            message = "llama.cpp cannot parse the grammar"
            raise RunnerError("grammar_invalid", message)
        self._is_silent = is_silent
        self._silent: list[int] = []
        self._best = bindings.llama_sampler_init_greedy()
        self._tokens: int = bindings.llama_vocab_n_tokens(vocab)
        self._data = (bindings.llama_token_data * self._tokens)()
        ids = (ctypes.c_int32 * self._tokens)(*range(self._tokens))
        # Python copies every third word at the speed of C; a loop over the vocabulary would take 10 ms a token.
        memoryview(self._data).cast("B").cast("i")[::DATA_WORDS] = memoryview(ids).cast("B").cast("i")
        self._fresh = bytes(self._data)
        self._logits = memoryview(self._data).cast("B").cast("f")[1::DATA_WORDS]

    def sample(self, chain: object, context: object) -> int:
        """Choose the next token from the logits of the last position, with the chain of samplers, and accept it.

        Raises:
            RunnerError: grammar_invalid; no token of the vocabulary can go on.
        """
        token_id = self._choose(chain, context)
        while self._is_silent(token_id):
            self._silent.append(token_id)
            token_id = self._choose(chain, context)
        bindings.llama_sampler_accept(self._sampler, token_id)
        bindings.llama_sampler_accept(chain, token_id)
        return token_id

    def _choose(self, chain: object, context: object) -> int:
        token_id = self._apply(chain, self._candidates(context))
        if self._allows(token_id):
            return token_id
        candidates = self._candidates(context)
        bindings.llama_sampler_apply(self._sampler, ctypes.byref(candidates))
        best = self._apply(self._best, candidates)
        if candidates.data[candidates.selected].logit == -math.inf:
            message = "no token of the vocabulary can go on where the grammar is"
            raise RunnerError("grammar_invalid", message)
        token_id = self._apply(chain, candidates)
        # A draw among probabilities may end on one that is zero; the process would not survive a token not allowed.
        return token_id if self._allows(token_id) else best

    def _candidates(self, context: object) -> ctypes.Structure:
        ctypes.memmove(self._data, self._fresh, len(self._fresh))
        logits = bindings.llama_get_logits_ith(context, -1)
        whole = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * self._tokens)).contents
        self._logits[:] = memoryview(whole).cast("B").cast("f")
        for token_id in self._silent:
            self._logits[token_id] = -math.inf
        return _array(ctypes.pointer(self._data), self._tokens)

    def _apply(self, sampler: object, candidates: ctypes.Structure) -> int:
        bindings.llama_sampler_apply(sampler, ctypes.byref(candidates))
        token_id: int = candidates.data[candidates.selected].id
        return token_id

    def _allows(self, token_id: int) -> bool:
        if token_id in self._silent:
            return False
        one = bindings.llama_token_data(token_id, 0.0, 0.0)
        array = _array(ctypes.pointer(one), 1)
        bindings.llama_sampler_apply(self._sampler, ctypes.byref(array))
        return bool(one.logit != -math.inf)
