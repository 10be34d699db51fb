"""Tiny GGUF files that the real llama.cpp refuses, or that make it assert, throw, crash or run out of memory.

They are put into a store past the judgement of `models add`, which refuses many of them: what the runner does with a
file must not depend on what is found out before.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFValueType, GGUFWriter, LlamaFileType, PoolingType

from contracts.wire.document import sha256_digest
from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_claim import Claim
from supervisor.adapters.installation.model_store import ModelStore

__all__ = ["BROKEN", "LONG_WORD", "SOUND", "WITHOUT_TEMPLATE", "BrokenModel", "install", "write_model"]

WIDTH, INNER, VOCABULARY, HEADS, CONTEXT = 32, 64, 320, 4, 128
QUANTIZATION = "f32"
FILE_NAME = "model.gguf"
UNKNOWN, CONTROL, NORMAL, BYTE = 2, 3, 1, 6
Shape = tuple[int, ...]
Put = Callable[[GGUFWriter], object]


@dataclass(frozen=True)
class BrokenModel:
    """How a file differs from a sound one, and what must come of it.

    Attributes:
        code: the record's reason; empty: it completes.
        says: words that the reason must hold.
        keys: puts keys into the header.
        vocabulary: puts the tokenizer into the header.
        shapes: the tensors that differ; None: it is left out.
        architecture: what the header names.
        prompt: what it must be asked to break.
        context_tokens: context that the file claims, and that it gets.
        template: its chat template; empty: it has none.
    """

    code: str
    says: str
    keys: Put
    vocabulary: Put
    shapes: Mapping[str, Shape | None] = field(default_factory=dict)
    architecture: str = "llama"
    prompt: str = "a secret question"
    context_tokens: int = CONTEXT
    template: str = ""


def _pieces(first: Iterable[tuple[str, int]]) -> tuple[list[str], list[int]]:
    known = list(first)
    known += [(f"\u2581w{number}", NORMAL) for number in range(len(known), VOCABULARY)]
    return [text for text, _ in known], [kind for _, kind in known]


_SPECIAL = (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL))
_BYTES = tuple((f"<0x{number:02X}>", BYTE) for number in range(256))


def _sentence_pieces(writer: GGUFWriter, first: Iterable[tuple[str, int]] = (*_SPECIAL, *_BYTES)) -> None:
    texts, kinds = _pieces(first)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts)
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _byte_pairs(writer: GGUFWriter, *, merges: bool = True, splitter: str = "gpt-4o") -> None:
    # GPT-2 writes each byte as one character: the printable ones as they are, the others from U+0100 on.
    kept = (*range(33, 127), *range(161, 173), *range(174, 256))
    others = len(set(range(256)) - set(kept))
    texts, kinds = _pieces([(chr(code), NORMAL) for code in (*kept, *range(256, 256 + others))])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitter)
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    if merges:
        writer.add_token_merges(["a b"])


def _word_pieces(writer: GGUFWriter) -> None:
    texts, kinds = _pieces([(text, NORMAL) for text in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    writer.add_tokenizer_model("bert")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_type_count(2)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_pad_token_id(0)


def _no_vocabulary(writer: GGUFWriter) -> None:
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(VOCABULARY)


def _nothing(_writer: GGUFWriter) -> None:
    pass


def _llama_keys(writer: GGUFWriter, *more: Put, layers: int = 1) -> None:
    writer.add_block_count(layers)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    for put in more:
        put(writer)


def _llama_shapes(layers: int = 1, head: int = WIDTH // HEADS) -> dict[str, Shape]:
    attention = HEADS * head
    shapes: dict[str, Shape] = {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (VOCABULARY, WIDTH),
    }
    for number in range(layers):
        layer = {
            **{"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_output": (WIDTH, attention)},
            **dict.fromkeys(("attn_q", "attn_k", "attn_v"), (attention, WIDTH)),
            **{"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)},
        }
        shapes |= {f"blk.{number}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _bert_keys(writer: GGUFWriter) -> None:
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)


def _bert_shapes() -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "token_types.weight": (2, WIDTH),
        "position_embd.weight": (CONTEXT, WIDTH),
    }
    matrices = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
    matrices |= {"ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    vectors = {"token_embd_norm": WIDTH, "blk.0.attn_output_norm": WIDTH, "blk.0.layer_output_norm": WIDTH}
    shapes |= {f"blk.0.{name}.weight": shape for name, shape in matrices.items()}
    shapes |= {f"blk.0.{name}.bias": shape[:1] for name, shape in matrices.items()}
    return shapes | {f"{name}.{part}": (size,) for name, size in vectors.items() for part in ("weight", "bias")}


def _rwkv_keys(writer: GGUFWriter) -> None:
    writer.add_block_count(1)
    writer.add_head_count(0)
    writer.add_layer_norm_eps(1e-5)
    # By this number llama.cpp divides.
    writer.add_wkv_head_size(0)
    writer.add_time_mix_extra_dim(4)
    writer.add_time_decay_extra_dim(4)
    writer.add_token_shift_count(2)


def _rwkv_shapes() -> dict[str, Shape]:
    norms = ("token_embd_norm", "output_norm", "blk.0.attn_norm", "blk.0.attn_norm_2")
    return {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "output.weight": (VOCABULARY, WIDTH),
        **{f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")},
        "blk.0.time_mix_w1.weight": (20, WIDTH),
        "blk.0.time_mix_w2.weight": (5, WIDTH, 4),
        "blk.0.time_mix_lerp_x.weight": (1, 1, WIDTH),
        "blk.0.time_mix_lerp_fused.weight": (5, 1, 1, WIDTH),
    }


def _llama(code: str, says: str, *keys: Put, vocabulary: Put = _sentence_pieces, **more: Any) -> BrokenModel:
    def put(writer: GGUFWriter) -> None:
        _llama_keys(writer, *keys)

    more["shapes"] = {**_llama_shapes(), **more.get("shapes", {})}
    return BrokenModel(code, says, put, vocabulary, **more)


# A cache of 16 KiB a token, of which the index entry knows nothing.
_HUNGRY_LAYERS, _HUNGRY_HEAD = 8, 128


def _hungry_keys(writer: GGUFWriter) -> None:
    _llama_keys(writer, layers=_HUNGRY_LAYERS)
    writer.add_key_length(_HUNGRY_HEAD)
    writer.add_value_length(_HUNGRY_HEAD)
    writer.add_rope_dimension_count(_HUNGRY_HEAD)


# For a file of this tokenizer, of 40 layers and without a template, llama.cpp names a template of its own.
_TEKKEN_LAYERS = 40


def _tekken_keys(writer: GGUFWriter) -> None:
    _llama_keys(writer, layers=_TEKKEN_LAYERS)


SOUND = _llama("", "")
# The C++ library's regular expressions, which cut words for this tokenizer, recurse for each character.
LONG_WORD = {"long-word": _llama("context_overflow", "", vocabulary=_byte_pairs, prompt="a" * 131_000)}
# As SOUND, without a chat template that can be rendered; the index entries say so.
WITHOUT_TEMPLATE: dict[str, BrokenModel] = {
    "template-in-latin-1": _llama(
        "", "", lambda writer: writer.add_key_value("tokenizer.chat_template", b"caf\xe9", GGUFValueType.STRING)
    ),
    "tekken-of-40-layers": BrokenModel(
        "",
        "",
        _tekken_keys,
        lambda writer: _byte_pairs(writer, splitter="tekken"),
        {**_llama_shapes(_TEKKEN_LAYERS)},
    ),
}
BROKEN: dict[str, BrokenModel] = {
    "no-tensor": _llama("model_load_failed", "'blk.0.attn_q.weight' not found", shapes={"blk.0.attn_q.weight": None}),
    "wrong-shape": _llama("model_load_failed", "has wrong shape", shapes={"blk.0.attn_q.weight": (WIDTH, 2 * WIDTH)}),
    "no-tokenizer": _llama("model_load_failed", "tokenizer.ggml.model", vocabulary=_nothing),
    "no-merges": _llama(
        "model_load_failed", "cannot find tokenizer merges", vocabulary=lambda writer: _byte_pairs(writer, merges=False)
    ),
    "unknown-architecture": _llama(
        "model_load_failed", "unknown model architecture: 'nosucharch'", architecture="nosucharch"
    ),
    "part-of-a-split": _llama(
        "model_load_failed",
        "invalid split file name",
        lambda writer: writer.add_uint16("split.count", 3),
        lambda writer: writer.add_uint16("split.no", 0),
        lambda writer: writer.add_int32("split.tensors.count", 30),
    ),
    "more-experts-used-than-there": _llama(
        "model_assertion_failed",
        "GGML_ASSERT(",
        lambda writer: writer.add_expert_count(2),
        lambda writer: writer.add_expert_used_count(4),
    ),
    "embedding-model": BrokenModel(
        "model_assertion_failed", "words are left out", _bert_keys, _word_pieces, _bert_shapes(), "bert"
    ),
    "no-vocabulary": _llama("model_assertion_failed", "words are left out", vocabulary=_no_vocabulary),
    "no-bytes": _llama(
        "model_exception", "words are left out", vocabulary=lambda writer: _sentence_pieces(writer, _SPECIAL)
    ),
    "heads-of-no-size": BrokenModel("model_crashed", "SIGFPE", _rwkv_keys, _sentence_pieces, _rwkv_shapes(), "rwkv6"),
    # The template engine follows the circle until the stack ends.
    "endless-template": _llama(
        "model_crashed",
        "SIGSEGV",
        template="{% set circle = namespace() %}{% set circle.itself = circle %}{{ circle | tojson }}",
    ),
    "hungry": BrokenModel(
        "memory_limit_exceeded",
        "memory",
        _hungry_keys,
        _sentence_pieces,
        {**_llama_shapes(_HUNGRY_LAYERS, _HUNGRY_HEAD)},
        context_tokens=32_768,
    ),
}


def write_model(path: Path, model: BrokenModel) -> Path:
    """Write a file of some hundred kilobytes, with weights from a fixed seed."""
    random = np.random.default_rng(0)
    writer = GGUFWriter(path, model.architecture)
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_context_length(model.context_tokens)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    model.keys(writer)
    model.vocabulary(writer)
    writer.add_chat_template(model.template)
    for name, shape in model.shapes.items():
        if shape is not None:
            writer.add_tensor(name, random.standard_normal(shape).astype(np.float32) * np.float32(0.1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def install(home: Home, models: Mapping[str, BrokenModel]) -> None:
    """Give a home a store of its own with these models under their names, without judging them."""
    if home.models.is_symlink():
        home.models.unlink()
    work = home.root / "work"
    work.mkdir()
    ModelStore(home.models).add(
        "sound", write_model(work / FILE_NAME, SOUND), Claim(QUANTIZATION), progress=lambda _: None
    )
    index_file = home.models / "models.json"
    index = json.loads(index_file.read_bytes())
    (sound,) = index["models"]
    for name, model in models.items():
        index["models"].append(sound | _place(home.models, write_model(work / name, model)) | _claims(name, model))
    index_file.write_text(json.dumps(index))
    shutil.rmtree(work)


def _claims(name: str, model: BrokenModel) -> dict[str, Any]:
    template = sha256_digest(model.template.encode()) if model.template else None
    return {
        "name": name,
        "architecture": model.architecture,
        "context_length": model.context_tokens,
        "chat_template": template,
    }


def _place(store: Path, file: Path) -> dict[str, Any]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    target = store / digest / FILE_NAME
    target.parent.mkdir(mode=0o755)
    shutil.copyfile(file, target)
    target.chmod(0o444)
    status = target.lstat()
    identity = {
        "device": status.st_dev,
        "inode": status.st_ino,
        "size_bytes": status.st_size,
        "modified_ns": str(status.st_mtime_ns),
        "changed_ns": str(status.st_ctime_ns),
    }
    return {"sha256": f"sha256:{digest}", "size_bytes": status.st_size, "identity": identity}
