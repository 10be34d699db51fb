"""Model files of a few hundred bytes, whole in every part that is judged; no model that anybody would run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType

__all__ = ["write_gguf"]

WIDTH = 32
TOKENS = ["<s>", "</s>", "a", "b", "ab", "\u0120"]


def write_gguf(
    path: Path,
    *,
    seed: int = 0,
    template: str | None = None,
    describe: Callable[[GGUFWriter], None] = lambda _writer: None,
) -> Path:
    """Write a model of one layer with weights of 32 bits.

    Args:
        path: the file.
        seed: models of different seeds are different files.
        template: its chat template.
        describe: writes further keys.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.CONTROL, TokenType.CONTROL, *[TokenType.NORMAL] * 4])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_uint32("test.seed", seed)
    if template is not None:
        writer.add_chat_template(template)
    describe(writer)
    for name, shape in (
        ("token_embd.weight", (len(TOKENS), WIDTH)),
        ("output_norm.weight", (WIDTH,)),
        ("output.weight", (len(TOKENS), WIDTH)),
        ("blk.0.attn_norm.weight", (WIDTH,)),
        ("blk.0.attn_q.weight", (WIDTH, WIDTH)),
        ("blk.0.attn_k.weight", (WIDTH // 2, WIDTH)),
        ("blk.0.attn_v.weight", (WIDTH // 2, WIDTH)),
        ("blk.0.attn_output.weight", (WIDTH, WIDTH)),
        ("blk.0.ffn_norm.weight", (WIDTH,)),
        ("blk.0.ffn_gate.weight", (WIDTH, WIDTH)),
        ("blk.0.ffn_up.weight", (WIDTH, WIDTH)),
        ("blk.0.ffn_down.weight", (WIDTH, WIDTH)),
    ):
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
