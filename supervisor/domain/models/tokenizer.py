"""Whether llama.cpp can use the tokenizer of a file (src/llama-vocab.cpp of the pinned version). Pure."""

from dataclasses import dataclass

from supervisor.domain.models.gguf_head import ARRAY, INT32, STRING, GgufError, GgufHead, GgufValue

__all__ = ["Tokenizer", "require_tokenizer"]

FLOAT32 = 6
_NONE = frozenset({"no_vocab", "none"})
_BYTE_PAIRS = frozenset({"gpt2", "hybriddna", "whitespace", "gemma4"})
_MODELS = frozenset({"llama", "bert", "t5", "rwkv", "test", "plamo2"}) | _BYTE_PAIRS
_SPLITTER_NAMES = (
    "a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe command-r dbrx "
    "deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone exaone-moe exaone4 f2llmv2 falcon "
    "falcon-h1 falcon3 gemma4 gigachat glm4 glm5 gpt-2 gpt-4o gpt3-finnish granite-docling "
    "granite-embed-multi-311m granite-embed-multi-97m grok-2 hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de "
    "jina-es jina-v1-en jina-v2-code jina-v2-de jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 kormo laguna "
    "lfm2 llada-moe llama-bpe llama-v3 llama3 llama4 megrez mellum mellum2 midm-2.0 minerva-7b minicpm5 "
    "minimax-m2 modern-bert mpt olmo phi-2 pixtral poro-chat qwen2 qwen35 refact roberta-bpe sarvam-moe "
    "seed-coder smaug-bpe smollm solar-open spark2_5 stablelm2 starcoder superbpe talkie tekken tiny_aya trillion "
    "ufakzeka viking whitespace youtu"
)
# How a text is cut before byte pairs are merged (`tokenizer.ggml.pre`); an empty name stands for `default`.
_SPLITTERS = frozenset(_SPLITTER_NAMES.split())
# Number of the token that begins a text, where the file names none.
_USUAL_BOS = {"llama": 1, "bert": 101, "plamo2": 1, "gpt2": 11, "hybriddna": 11, "whitespace": 11}
_WITHOUT_USUAL_BOS = frozenset({"chatglm-bpe", "glm4", "glm5"})
_REMEDY = "convert the model again, from a directory that holds its tokenizer"


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """How a model cuts text into tokens."""

    kind: str
    """Kind of the tokenizer (`tokenizer.ggml.model`), with the name of its splitter where it has one."""
    tokens: int
    """Number of tokens."""


def _unusable(why: str) -> GgufError:
    return GgufError(f"it has no usable tokenizer: {why}; {_REMEDY}")


def _list(head: GgufHead, key: str, kinds: set[int]) -> GgufValue | None:
    value = head.values.get(key)
    if value is not None and (value.kind != ARRAY or value.item_kind not in kinds):
        raise _unusable(f"{key} is no list of the type that llama.cpp reads")
    return value


def _model(head: GgufHead) -> str:
    model = head.text("tokenizer.ggml.model")
    if model is None:
        raise _unusable("tokenizer.ggml.model is missing")
    if model in _NONE:
        raise _unusable(f"tokenizer.ggml.model is {model}")
    if model not in _MODELS:
        raise _unusable(f"llama.cpp does not know the tokenizer.ggml.model {model[:64]!a}")
    return model


def _splitter(head: GgufHead, model: str) -> str:
    splitter = head.text("tokenizer.ggml.pre") or "default"
    if model not in _BYTE_PAIRS:
        return ""
    if splitter not in _SPLITTERS and model != "gemma4":
        raise _unusable(f"llama.cpp does not know the tokenizer.ggml.pre {splitter[:64]!a}")
    merges = _list(head, "tokenizer.ggml.merges", {STRING})
    if merges is None and splitter != "kimi-k2":
        raise _unusable("the list of merges (tokenizer.ggml.merges) is missing")
    return splitter


def _refuse_equal_tokens(head: GgufHead) -> None:
    """Refuse a vocabulary in which llama.cpp sees one text twice: it aborts there."""
    seen = set()
    for number, text in enumerate(head.strings("tokenizer.ggml.tokens")):
        # As a C string; an empty token gets a name of its own.
        seen.add(text.split(b"\0", 1)[0] or b"[EMPTY_%d]" % number)
    value = head.values["tokenizer.ggml.tokens"]
    if len(seen) != value.count:
        raise _unusable(f"{value.count - len(seen)} of its tokens are there twice")


def _count_tokens(head: GgufHead) -> int:
    tokens = _list(head, "tokenizer.ggml.tokens", {STRING})
    if tokens is None or tokens.count == 0:
        raise _unusable("the list of tokens (tokenizer.ggml.tokens) is missing or empty")
    for key, kinds in (("tokenizer.ggml.scores", {INT32, FLOAT32}), ("tokenizer.ggml.token_type", {INT32})):
        beside = _list(head, key, kinds)
        if beside is not None and beside.count < tokens.count:
            raise _unusable(f"{key} has {beside.count} items for {tokens.count} tokens")
    return tokens.count


def _refuse_missing_bos(head: GgufHead, model: str, splitter: str, tokens: int) -> None:
    if not head.flag("tokenizer.ggml.add_bos_token"):
        return
    usual = None if splitter in _WITHOUT_USUAL_BOS else _USUAL_BOS.get(model)
    named = head.number("tokenizer.ggml.bos_token_id")
    if model != "rwkv" and not any(bos is not None and bos < tokens for bos in (named, usual)):
        raise _unusable("texts shall begin with a token that the file does not name (tokenizer.ggml.bos_token_id)")


def _refuse_other_embedding(head: GgufHead, tokens: int) -> None:
    for tensor in head.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) > 1 and tensor.shape[1] != tokens:
            message = (
                f"its tokenizer has {tokens} tokens and its weights are made for {tensor.shape[1]} "
                f"(token_embd.weight); {_REMEDY}"
            )
            raise GgufError(message)


def require_tokenizer(head: GgufHead) -> Tokenizer:
    """Return the tokenizer of a model.

    Raises:
        GgufError: there is none, or llama.cpp cannot use it.
    """
    model = _model(head)
    splitter = _splitter(head, model)
    tokens = _count_tokens(head)
    _refuse_equal_tokens(head)
    _refuse_missing_bos(head, model, splitter, tokens)
    _refuse_other_embedding(head, tokens)
    return Tokenizer(f"{model} ({splitter})" if splitter else model, tokens)
