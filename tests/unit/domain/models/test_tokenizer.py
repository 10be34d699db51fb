"""A model without a tokenizer that llama.cpp can use is refused, with what is missing."""

from typing import Any

import pytest

from supervisor.domain.models.gguf_head import GgufError
from supervisor.domain.models.tokenizer import Tokenizer, require_tokenizer
from tests.gguf_files import Typed, parse_composed, sound_keys

I8, I32 = 1, 5
NOT_USABLE = "it has no usable tokenizer: "
PAIRS: dict[str, Any] = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": ["a b"]}


def tokenizer(keys: dict[str, Any], *tensors: tuple[str | bytes, tuple[int, ...], str]) -> Tokenizer:
    return require_tokenizer(parse_composed(sound_keys() | keys, [*tensors, ("norm", (32,), "f32")]))


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"tokenizer.ggml.model": None, "tokenizer.ggml.tokens": None}, "tokenizer.ggml.model is missing"),
        ({"tokenizer.ggml.model": 1}, "tokenizer.ggml.model is missing"),
        ({"tokenizer.ggml.model": "no_vocab"}, "tokenizer.ggml.model is no_vocab"),
        ({"tokenizer.ggml.model": "none"}, "tokenizer.ggml.model is none"),
        ({"tokenizer.ggml.model": "sentencepiece"}, "does not know the tokenizer.ggml.model 'sentencepiece'"),
        ({"tokenizer.ggml.model": b"\xff\n"}, r"does not know the tokenizer.ggml.model '\ufffd\n'"),
        ({"tokenizer.ggml.model": "gpt2"}, "the list of merges (tokenizer.ggml.merges) is missing"),
        ({"tokenizer.ggml.model": "gemma4"}, "the list of merges (tokenizer.ggml.merges) is missing"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": "a b"}, "merges is no list of the type"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": [1]}, "merges is no list of the type"),
        (PAIRS | {"tokenizer.ggml.pre": "my-own"}, "does not know the tokenizer.ggml.pre 'my-own'"),
        ({"tokenizer.ggml.tokens": None}, "tokens (tokenizer.ggml.tokens) is missing or empty"),
        ({"tokenizer.ggml.tokens": Typed(8, [])}, "tokens (tokenizer.ggml.tokens) is missing or empty"),
        ({"tokenizer.ggml.tokens": "abc"}, "tokens is no list of the type"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "tokens is no list of the type"),
        ({"tokenizer.ggml.scores": [0.0] * 3}, "tokenizer.ggml.scores has 3 items for 4 tokens"),
        ({"tokenizer.ggml.scores": Typed(I8, [0] * 4)}, "scores is no list of the type"),
        ({"tokenizer.ggml.token_type": Typed(I32, [1] * 2)}, "tokenizer.ggml.token_type has 2 items for 4 tokens"),
        ({"tokenizer.ggml.token_type": [1] * 4}, "token_type is no list of the type"),
        ({"tokenizer.ggml.tokens": ["a", "b", "a"]}, "1 of its tokens are there twice"),
        # llama.cpp reads a token up to its first zero byte, and names the empty ones.
        ({"tokenizer.ggml.tokens": ["a", "b", "a\0c"]}, "1 of its tokens are there twice"),
        ({"tokenizer.ggml.tokens": ["[EMPTY_1]", ""]}, "1 of its tokens are there twice"),
        (PAIRS | {"tokenizer.ggml.add_bos_token": True}, "does not name (tokenizer.ggml.bos_token_id)"),
        ({"tokenizer.ggml.model": "t5", "tokenizer.ggml.add_bos_token": True}, "begin with a token"),
        (PAIRS | {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 4}, "begin with a token"),
    ],
)
def test_a_tokenizer_that_llama_cpp_cannot_use_is_refused(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(GgufError) as caught:
        tokenizer(keys)
    assert str(caught.value).startswith(NOT_USABLE)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({}, "llama"),
        ({"tokenizer.ggml.scores": [0.0] * 4, "tokenizer.ggml.token_type": Typed(I32, [1] * 4)}, "llama"),
        # Longer lists are cut.
        ({"tokenizer.ggml.scores": Typed(I32, [0] * 9)}, "llama"),
        ({"tokenizer.ggml.tokens": ["", "", "\0", b"\xff"]}, "llama"),
        (PAIRS, "gpt2 (default)"),
        (PAIRS | {"tokenizer.ggml.pre": ""}, "gpt2 (default)"),
        (PAIRS | {"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.merges": Typed(8, [])}, "gpt2 (llama-bpe)"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "kimi-k2"}, "gpt2 (kimi-k2)"),
        (PAIRS | {"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.pre": "other"}, "gemma4 (other)"),
        ({"tokenizer.ggml.model": "t5"}, "t5"),
        ({"tokenizer.ggml.model": "rwkv", "tokenizer.ggml.add_bos_token": True}, "rwkv"),
        ({"tokenizer.ggml.model": "plamo2"}, "plamo2"),
        ({"tokenizer.ggml.add_bos_token": True}, "llama"),
        (PAIRS | {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 3}, "gpt2 (default)"),
        (PAIRS | {"tokenizer.ggml.add_bos_token": False}, "gpt2 (default)"),
    ],
)
def test_a_tokenizer_that_llama_cpp_uses_is_accepted(keys: dict[str, Any], kind: str) -> None:
    assert tokenizer(keys) == Tokenizer(kind, 4)


def test_some_splitters_have_no_usual_first_token() -> None:
    many = {"tokenizer.ggml.tokens": [f"t{number}" for number in range(20)], "tokenizer.ggml.add_bos_token": True}
    assert tokenizer(PAIRS | many).tokens == 20
    with pytest.raises(GgufError, match="begin with a token"):
        tokenizer(PAIRS | many | {"tokenizer.ggml.pre": "glm4"})


def test_weights_for_another_vocabulary_are_refused() -> None:
    with pytest.raises(GgufError, match=r"has 4 tokens and its weights are made for 5"):
        tokenizer({}, ("token_embd.weight", (32, 5), "f32"))
    assert tokenizer({}, ("token_embd.weight", (32, 4), "f32")).tokens == 4
