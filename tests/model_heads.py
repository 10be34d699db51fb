"""Heads of models: the numbers of published ones, and for every architecture a small one that llama.cpp accepts.

No weights: llama.cpp can make a model from the keys alone, and say what its cache takes.
"""

from typing import Any

__all__ = ["PUBLISHED", "Keys", "full_keys", "small_head"]

Keys = dict[str, Any]
"""Keys without the name of their architecture; `full_keys` adds it."""

_LAYERS, _WIDE, _HEADS, _FEED = 12, 256, 4, 384
_COMPRESSED = {
    *("bailingmoe3", "deepseek2", "deepseek32", "dots3note", "glm-dsa", "glm5-next", "hy_v4"),
    *("kimi-k3", "kimi-linear", "mistral4"),
}
_BY_HEADS = {
    *("bailingmoe3", "glm5-next", "granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2", "lfm2moe"),
    *("nemotron_h", "nemotron_h_moe", "plamo2"),
}
_LISTED_WINDOWS = {"cohere2moe", "dots3note", "gemma4", "granite_swa", "maple", "mimo2", "muse-glimmer", "spark2_5"} | {
    "step35"
}
_WITH_EXPERTS = {
    *("afmoe", "arctic", "bailingmoe", "bailingmoe2", "bailingmoe3", "cohere2moe", "dbrx", "deepseek", "deepseek2"),
    *("deepseek2-ocr", "deepseek32", "deepseek4", "dots1", "dots3note", "ernie4_5-moe", "exaone-moe", "glm-dsa"),
    *("glm4moe", "glm5-next", "gpt-oss", "granitehybrid", "granitemoe", "grok", "grovemoe", "hunyuan-moe", "hy_v3"),
    *("hy_v4", "jamba", "kimi-k3", "kimi-linear", "laguna", "lfm2moe", "llama4", "maple", "mellum", "mimo2"),
    *("minimax-01", "minimax-m2", "minimax-m3", "mistral4", "nemotron_h_moe", "olmoe", "phimoe", "qwen2moe"),
    *("qwen35moe", "qwen3moe", "qwen3next", "qwen3vlmoe", "qwen4exp", "smallthinker", "spark2_5", "step35"),
}
# What single architectures need, or need otherwise.
_SPECIAL: dict[str, Keys] = {
    "apertus": {f"xielu.{name}": 1.0 for name in ("alpha_n", "alpha_p", "beta", "eps")},
    "arwkv7": {"token_shift_count": 1},
    "bailingmoe3": {"rope.dimension_sections": [8, 12, 12, 0]},
    "deepseek4": {
        **{"block_count": 8, "embedding_length": 512, "feed_forward_length": 1024},
        **{"attention.head_count": 8, "attention.head_count_kv": 1, "attention.key_length": 64},
        **{"attention.value_length": 64, "attention.q_lora_rank": 64, "rope.dimension_count": 32},
        **{"attention.output_group_count": 8, "attention.output_lora_rank": 32, "hash_layer_count": 0},
        **{"attention.compress_ratios": [0, 0, 4, 128, 4, 128, 4, 128], "expert_gating_func": 4},
        **{"attention.compress_rope_freq_base": 1e5, "expert_weights_norm": True, "swiglu_clamp_exp": 10.0},
        **{"hyper_connection.count": 4, "hyper_connection.epsilon": 1e-6, "hyper_connection.sinkhorn_iterations": 2},
    },
    "dots3note": {
        **{"attention.kv_lora_rank_swa": 512, "attention.key_length_swa": 576, "attention.value_length_swa": 512},
        **{"attention.key_length_mla_swa": 192, "attention.value_length_mla_swa": 128, "rope.freq_base_swa": 1e4},
        "attention.indexer.types": [layer % 2 for layer in range(_LAYERS)],
    },
    "exaone4": {"block_count": 64},
    "gemma3n": {"block_count": 30},
    "gemma4": {
        **{"attention.shared_kv_layers": 6, "attention.key_length_swa": 64, "attention.value_length_swa": 64},
        **{"embedding_length_per_layer_input": 128, "rope.freq_base_swa": 1e4},
    },
    "glm5-next": {
        **{"attention.head_count": 1, "attention.key_length": 512, "rope.dimension_count": 0},
        **{"hyper_connection.count": 4, "hyper_connection.epsilon": 1e-6, "hyper_connection.sinkhorn_iterations": 2},
    },
    "graniteswitch": {
        **{"adapters.count": 2, "adapters.lora_rank": 8},
        **{"adapters.token_ids_activate": [1, 2], "adapters.token_ids_substitute": [3, 4]},
    },
    "hrm_text": {"block_count": 6, "hrm.h_cycles": 2, "hrm.l_cycles": 2, "hrm.layers_per_stack": 1},
    "hy_v4": {
        **{"hyper_connection.count": 4, "hyper_connection.epsilon": 1e-6, "hyper_connection.magnitude": 2.0},
        **{"expert_weights_norm": True, "swiglu_clamp_exp": 10.0},
        "attention.indexer.types": [(layer + 1) % 2 for layer in range(_LAYERS)],
    },
    "maple": {"swiglu_clamp_exp": 7.0},
    "minimax-01": {"residual_scale": 3.5},
    "minimax-m3": {"attention.indexer.head_count": _HEADS, "rope.dimension_count": 64},
    "nanbeige": {"num_loops": 2},
    "plamo2": {"ssm.group_count": 0},
    "plm": {"attention.key_length": 96, "rope.dimension_count": 32},
    "qwen4exp": {
        **{"attention.compress_ratios": [4] * _LAYERS, "attention.indexer.key_length": 64},
        **{"hyper_connection.count": 4, "hyper_connection.low_rank": 8, "hyper_connection.epsilon": 1e-6},
    },
    "rwkv6qwen2": {"token_shift_count": 1},
}


def full_keys(architecture: str, keys: Keys, tokens: int = 64) -> dict[str, Any]:
    """Return the keys of a whole head, with a tokenizer that llama.cpp keeps for tests."""
    vocabulary = [f"t{number}" for number in range(tokens)]
    return {
        "general.architecture": architecture,
        **{name if name.startswith("xielu.") else f"{architecture}.{name}": value for name, value in keys.items()},
        **{"tokenizer.ggml.model": "test", "tokenizer.ggml.tokens": vocabulary},
        "tokenizer.ggml.scores": [0.0] * tokens,
    }


def _small_base() -> Keys:
    attention: Keys = {
        **{"clamp_kqv": 1.0, "group_norm_epsilon": 1e-5, "group_norm_groups": 8, "head_count": _HEADS},
        **{"head_count_kv": _HEADS, "kv_lora_rank": 512, "layer_norm_epsilon": 1e-5, "layer_norm_rms_epsilon": 1e-5},
        **{"max_alibi_bias": 8.0, "q_lora_rank": 512, "relative_buckets_count": 8, "sliding_window": 512},
        **{"decay_lora_rank": 64, "gate_lora_rank": 64, "iclr_lora_rank": 64, "value_residual_mix_lora_rank": 64},
        **{"indexer.block_size": 4, "indexer.head_count": 64, "indexer.key_length": 128, "indexer.kpool": 4},
        **{"indexer.kpool_select_tail": True, "indexer.local_blocks": 1, "indexer.top_k": 131_072},
    }
    return {
        **{"block_count": _LAYERS, "context_length": 32_768, "embedding_length": _WIDE, "feed_forward_length": _FEED},
        **{f"attention.{name}": value for name, value in attention.items()},
        **{"full_attention_interval": 4, "leading_dense_block_count": 1, "logit_scale": 1.0},
        **{"rope.dimension_sections": [_WIDE // _HEADS // 4] * 4, "use_parallel_residual": False},
        **{"ssm.conv_kernel": 4, "ssm.group_count": 2, "ssm.inner_size": 2 * _WIDE, "ssm.state_size": 64},
        **{"ssm.time_step_rank": 8, "time_decay_extra_dim": 128, "time_mix_extra_dim": 64, "wkv.head_size": 64},
        **{"kda.gate_lower_bound": -5.0, "kda.head_dim": 128, "shortconv.l_cache": 3, "attn_res.block_size": 4},
        **{"activation.situ_beta": 1.0, "activation.situ_linear_beta": 0.5},
    }


def small_head(architecture: str) -> Keys:
    """Return keys of a small model with which llama.cpp makes a model of an architecture."""
    keys = _small_base()
    if architecture in _COMPRESSED:
        keys |= {"attention.head_count": 1, "attention.head_count_kv": 1, "embedding_length": 128}
        keys |= {"attention.key_length": 576, "attention.value_length": 512, "rope.dimension_count": 64}
        keys |= {"attention.key_length_mla": 192, "attention.value_length_mla": 128, "feed_forward_length": 192}
    if architecture in _BY_HEADS:
        heads = keys["attention.head_count"]
        per_layer = [0 if layer % 4 == 1 else heads for layer in range(_LAYERS)]
        if architecture.startswith("nemotron_h"):
            per_layer = [heads if layer % 3 == 0 else 0 for layer in range(_LAYERS)]
            keys["feed_forward_length"] = [_FEED if layer % 3 == 2 else 0 for layer in range(_LAYERS)]
        keys |= {"attention.head_count": per_layer, "attention.head_count_kv": per_layer}
    if architecture in _LISTED_WINDOWS:
        keys["attention.sliding_window_pattern"] = [layer % 6 != 5 for layer in range(_LAYERS)]
    if architecture in _WITH_EXPERTS:
        keys |= {"expert_count": 2, "expert_used_count": 2, "expert_shared_count": 1, "expert_gating_func": 2}
        keys |= {"expert_feed_forward_length": _FEED, "expert_shared_feed_forward_length": _FEED // 2}
        keys |= {"expert_group_scale": 1.0, "expert_latent_length": _FEED, "experts_per_group": 1}
        keys |= {"expert_weights_scale": 1.0, "interleave_moe_layer_step": 2, "moe_every_n_layers": 2}
    return keys | _SPECIAL.get(architecture, {})


def _published(
    layers: int, wide: int, heads: int | list[int], kv_heads: int | list[int], feed: int | list[int], **more: Any
) -> Keys:
    return {
        **{"block_count": layers, "embedding_length": wide, "feed_forward_length": feed, "context_length": 131_072},
        **{"attention.head_count": heads, "attention.head_count_kv": kv_heads},
        **{"attention.layer_norm_epsilon": 1e-6, "attention.layer_norm_rms_epsilon": 1e-6},
        **{name.replace("__", "."): value for name, value in more.items()},
    }


def _every(layers: int, heads: int, period: int, first: int) -> list[int]:
    return [heads if layer % period == first else 0 for layer in range(layers)]


_LFM2 = [0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0]
_NEMOTRON_ATTENTION = {7, 18, 29, 40}
_NEMOTRON_FEED = [21_504 if layer % 2 and layer not in _NEMOTRON_ATTENTION else 0 for layer in range(52)]
_KIMI = [1 if layer in {3, 7, 11, 15, 19, 23, 26} else 0 for layer in range(27)]
# Architecture and keys of published models, by name.
PUBLISHED: dict[str, tuple[str, Keys]] = {
    "Llama 3.1 8B": ("llama", _published(32, 4096, 32, 8, 14_336)),
    "Llama 4 Scout": (
        "llama4",
        _published(48, 5120, 40, 8, 16_384, expert_count=16, expert_used_count=1, expert_feed_forward_length=8192)
        | {"interleave_moe_layer_step": 1},
    ),
    "Gemma 2 9B": (
        "gemma2",
        _published(42, 3584, 16, 8, 14_336, attention__key_length=256, attention__value_length=256)
        | {"attention.sliding_window": 4096},
    ),
    "Gemma 3 27B": (
        "gemma3",
        _published(62, 5376, 32, 16, 21_504, attention__key_length=128, attention__value_length=128)
        | {"attention.sliding_window": 1024},
    ),
    "Gemma 3n E4B": (
        "gemma3n",
        _published(35, 2048, 8, 2, 16_384, attention__key_length=256, attention__value_length=256)
        | {"attention.sliding_window": 512},
    ),
    "gpt-oss 20B": (
        "gpt-oss",
        _published(24, 2880, 64, 8, 2880, attention__key_length=64, attention__value_length=64)
        | {"attention.sliding_window": 128, "expert_count": 32, "expert_used_count": 4}
        | {"expert_feed_forward_length": 2880},
    ),
    "Command R7B": (
        "cohere2",
        _published(32, 4096, 32, 8, 14_336, logit_scale=0.25, attention__sliding_window=4096),
    ),
    "Phi-3 mini 4k": ("phi3", _published(32, 3072, 32, 32, 8192, attention__sliding_window=2047)),
    "OLMo 3 7B": ("olmo2", _published(32, 4096, 32, 32, 11_008, attention__sliding_window=4096)),
    "EXAONE 4 32B": ("exaone4", _published(64, 5120, 40, 8, 27_392, attention__sliding_window=4096)),
    "Qwen3 30B-A3B": (
        "qwen3moe",
        _published(48, 2048, 32, 4, 6144, attention__key_length=128, attention__value_length=128)
        | {"expert_count": 128, "expert_used_count": 8, "expert_feed_forward_length": 768},
    ),
    "Qwen3-Next 80B-A3B": (
        "qwen3next",
        _published(48, 2048, 16, 2, 5120, attention__key_length=256, attention__value_length=256)
        | {"expert_count": 512, "expert_used_count": 10, "expert_feed_forward_length": 512}
        | {"expert_shared_feed_forward_length": 512, "rope.dimension_count": 64, "ssm.conv_kernel": 4}
        | {"ssm.inner_size": 4096, "ssm.state_size": 128, "ssm.time_step_rank": 32, "ssm.group_count": 16},
    ),
    "DeepSeek V3": (
        "deepseek2",
        _published(61, 7168, 128, 1, 18_432, attention__key_length=576, attention__value_length=512)
        | {"attention.key_length_mla": 192, "attention.value_length_mla": 128, "attention.q_lora_rank": 1536}
        | {"attention.kv_lora_rank": 512, "rope.dimension_count": 64, "leading_dense_block_count": 3}
        | {"expert_count": 256, "expert_used_count": 8, "expert_shared_count": 1, "expert_feed_forward_length": 2048}
        | {"expert_weights_scale": 2.5, "expert_gating_func": 2},
    ),
    "DeepSeek V2 Lite, converted before MLA": (
        "deepseek2",
        _published(27, 2048, 16, 16, 10_944, attention__key_length=192, attention__value_length=128)
        | {"attention.kv_lora_rank": 512, "rope.dimension_count": 64, "leading_dense_block_count": 1}
        | {"expert_count": 64, "expert_used_count": 6, "expert_shared_count": 2, "expert_feed_forward_length": 1408}
        | {"expert_weights_scale": 1.0},
    ),
    "Kimi Linear 48B-A3B": (
        "kimi-linear",
        _published(27, 2304, 32, _KIMI, 9216, attention__key_length=576, attention__value_length=512)
        | {"attention.key_length_mla": 192, "attention.value_length_mla": 128, "attention.kv_lora_rank": 512}
        | {"rope.dimension_count": 64, "ssm.conv_kernel": 4, "kda.head_dim": 128, "leading_dense_block_count": 1}
        | {"expert_count": 256, "expert_used_count": 8, "expert_shared_count": 1, "expert_feed_forward_length": 1024}
        | {"expert_gating_func": 2, "expert_weights_scale": 2.446},
    ),
    "Mamba 2.8B": (
        "mamba",
        _published(64, 2560, 0, 0, 0, ssm__conv_kernel=4, ssm__inner_size=5120, ssm__state_size=16)
        | {"ssm.time_step_rank": 160},
    ),
    "Mamba Codestral 7B": (
        "mamba2",
        _published(64, 4096, 0, 0, 0, ssm__conv_kernel=4, ssm__inner_size=8192, ssm__state_size=128)
        | {"ssm.time_step_rank": 128, "ssm.group_count": 8},
    ),
    "RWKV-6 3B": (
        "rwkv6",
        _published(32, 2560, 0, 0, 8960, wkv__head_size=64, time_mix_extra_dim=32, time_decay_extra_dim=64),
    ),
    "RWKV-7 2.9B": (
        "rwkv7",
        _published(32, 2560, 0, 0, 10_240, wkv__head_size=64, attention__decay_lora_rank=96)
        | {"attention.iclr_lora_rank": 96, "attention.value_residual_mix_lora_rank": 64}
        | {"attention.gate_lora_rank": 320},
    ),
    "Jamba Mini": (
        "jamba",
        _published(32, 4096, 32, _every(32, 8, 8, 4), 14_336, expert_count=16, expert_used_count=2)
        | {"ssm.conv_kernel": 4, "ssm.inner_size": 8192, "ssm.state_size": 16, "ssm.time_step_rank": 256},
    ),
    "Falcon-H1 7B": (
        "falcon-h1",
        _published(44, 3072, 12, 2, 12_288, attention__key_length=128, attention__value_length=128)
        | {"ssm.conv_kernel": 4, "ssm.inner_size": 3072, "ssm.state_size": 256, "ssm.time_step_rank": 24}
        | {"ssm.group_count": 1},
    ),
    "Granite 4.0 H Small": (
        "granitehybrid",
        _published(40, 4096, 32, _every(40, 8, 10, 5), 768, expert_count=72, expert_used_count=10)
        | {"expert_feed_forward_length": 768, "expert_shared_feed_forward_length": 1536, "ssm.conv_kernel": 4}
        | {"ssm.inner_size": 8192, "ssm.state_size": 128, "ssm.time_step_rank": 128, "ssm.group_count": 1},
    ),
    "Nemotron-H 8B": (
        "nemotron_h",
        _published(52, 4096, 32, [8 if layer in _NEMOTRON_ATTENTION else 0 for layer in range(52)], _NEMOTRON_FEED)
        | {"attention.key_length": 128, "attention.value_length": 128, "ssm.conv_kernel": 4}
        | {"ssm.inner_size": 8192, "ssm.state_size": 128, "ssm.time_step_rank": 128, "ssm.group_count": 8},
    ),
    "LFM2 1.2B": ("lfm2", _published(16, 2048, 32, _LFM2, 8192, shortconv__l_cache=3)),
    "Nemotron Super 49B": (
        "deci",
        # Some layers have no attention at all.
        _published(80, 8192, _HEADS_49B := [0 if layer in range(42, 70) else 64 for layer in range(80)], 8, 28_672)
        | {"attention.head_count_kv": [heads // 8 for heads in _HEADS_49B]},
    ),
}
