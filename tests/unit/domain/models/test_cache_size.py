"""The cache of a model from its head; tests/integration/test_cache_sizes.py holds it against llama.cpp itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from supervisor.domain.models.architectures import TEXT
from supervisor.domain.models.cache_shape import CacheShape
from supervisor.domain.models.cache_size import size_cache
from supervisor.domain.models.gguf_head import GgufError
from supervisor.domain.models.hyperparameters import Hyperparameters
from tests.gguf_files import Typed, parse_composed
from tests.model_heads import PUBLISHED, Keys, full_keys, small_head

U64, I32 = 10, 5
MIB = 2**20


def shape_of(architecture: str, keys: Keys) -> CacheShape:
    return size_cache(Hyperparameters(parse_composed(full_keys(architecture, keys, 4)), architecture))


def plain(**more: Any) -> Keys:
    keys = {"context_length": 4096, "embedding_length": 64, "block_count": 4, "attention.head_count": 4}
    return keys | {name.replace("__", "."): value for name, value in more.items()}


def shape(token: int, window: int = 0, window_tokens: int = 0, state: int = 0) -> CacheShape:
    return CacheShape(token_bytes=token, window_token_bytes=window, window_tokens=window_tokens, state_bytes=state)


def test_the_cells_are_padded_and_a_window_holds_a_batch_beside_its_tokens() -> None:
    both = shape(10, 100, 1024, 7)
    assert both.cache_bytes(4096, 512) == 4096 * 10 + 1536 * 100 + 7
    assert both.cache_bytes(4097, 500) == 4352 * 10 + 1536 * 100 + 7
    # Never more than the context.
    assert both.cache_bytes(700, 512) == 768 * 110 + 7
    assert both.cache_bytes(16, 16) == 256 * 110 + 7


def test_a_shape_without_sense_is_no_shape() -> None:
    with pytest.raises(ValidationError):
        shape(-1)


# Values, each of two bytes: keys and values of 4 layers, 4 heads of 16 numbers.
FULL = 4 * 4 * (16 + 16) * 2


@pytest.mark.parametrize(
    ("architecture", "keys", "expected"),
    [
        ("llama", plain(), shape(FULL)),
        ("llama", plain(attention__head_count_kv=1), shape(FULL // 4)),
        ("llama", plain(attention__key_length=32), shape(4 * 4 * (32 + 16) * 2)),
        ("llama", plain(attention__value_length=48), shape(4 * 4 * (16 + 48) * 2)),
        # A number for each layer, and layers without attention.
        ("deci", plain(attention__head_count_kv=[4, 0, 2, 0]), shape(6 * 32 * 2)),
        (
            "openelm",
            plain(attention__head_count=[4, 8, 8, 8], attention__head_count_kv=Typed(I32, [1] * 4)),
            shape(256),
        ),
        # A window that llama.cpp does not use for this architecture.
        ("llama", plain(attention__sliding_window=64), shape(FULL)),
        ("phi3", plain(attention__sliding_window=64), shape(FULL)),
        ("gemma3", plain(), shape(FULL)),
        ("gemma3", plain(attention__sliding_window=0), shape(FULL)),
        # Every sixth layer sees everything, so of four none.
        ("gemma3", plain(attention__sliding_window=64), shape(0, FULL, 64)),
        ("gemma2", plain(), shape(FULL // 2, FULL // 2, 4096)),
        ("gemma2", plain(attention__sliding_window_pattern=4), shape(FULL // 4, FULL * 3 // 4, 4096)),
        ("gemma2", plain(attention__sliding_window_pattern=0), shape(0, FULL, 4096)),
        (
            "gemma2",
            plain(attention__sliding_window_pattern=[True, False, False, False]),
            shape(FULL * 3 // 4, FULL // 4, 4096),
        ),
        # A pattern may be longer or shorter than the layers.
        ("gemma2", plain(attention__sliding_window_pattern=[1] * 9), shape(0, FULL, 4096)),
        ("gemma2", plain(attention__sliding_window_pattern=[1]), shape(FULL * 3 // 4, FULL // 4, 4096)),
        ("llama4", plain(), shape(FULL // 4, FULL * 3 // 4, 8192)),
        ("llama4", plain(attention__sliding_window=64), shape(FULL // 4, FULL * 3 // 4, 8192)),
        ("llama4", plain(attention__sliding_window=0), shape(FULL)),
        ("smallthinker", plain(attention__sliding_window=64), shape(FULL // 4, FULL * 3 // 4, 4096)),
        ("exaone4", plain(attention__sliding_window=64), shape(FULL)),
        ("exaone4", plain(block_count=64), shape(FULL * 4, FULL * 12, 4096)),
        # The file lists the layers, or llama.cpp does not load it; then everything counts.
        ("mimo2", plain(attention__sliding_window=64), shape(FULL)),
        (
            "mimo2",
            plain(attention__sliding_window=64, attention__sliding_window_pattern=[0, 1, 1, 1])
            | {"attention.key_length_swa": 8, "attention.value_length_swa": 4},
            shape(FULL // 4, 3 * 4 * 12 * 2, 64),
        ),
        # Layers that use keys and values of others.
        (
            "gemma4",
            plain(attention__shared_kv_layers=2, attention__sliding_window=64)
            | {"attention.sliding_window_pattern": [True, False, True, True]},
            shape(FULL // 4, FULL // 4, 64),
        ),
        ("gemma3n", plain(block_count=30, attention__sliding_window=64), shape(FULL, FULL * 4, 64)),
        # Layers that only predict further tokens are not used.
        ("glm4moe", plain(nextn_predict_layers=1), shape(FULL * 3 // 4)),
        # Compressed keys, no values.
        (
            "deepseek2",
            plain(attention__head_count_kv=1, attention__key_length=40, attention__value_length=32)
            | {"attention.key_length_mla": 24, "attention.value_length_mla": 16},
            shape(4 * 40 * 2),
        ),
        ("deepseek2", plain(attention__key_length=24), shape(4 * 4 * (24 + 16) * 2)),
        # No heads at all: a state of 32-bit floats, for each layer and of no context.
        (
            "mamba",
            plain(attention__head_count=0, ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16),
            shape(0, state=4 * 4 * (3 * 128 + 16 * 128)),
        ),
        (
            "mamba2",
            plain(attention__head_count=0, ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16)
            | {"ssm.group_count": 2},
            shape(0, state=4 * 4 * (3 * (128 + 2 * 2 * 16) + 16 * 128)),
        ),
        ("rwkv6", plain(attention__head_count=0, wkv__head_size=16), shape(0, state=4 * 4 * (2 * 64 + 64 * 16))),
        (
            "arwkv7",
            plain(attention__head_count=0, wkv__head_size=16, token_shift_count=1),
            shape(0, state=4 * 4 * (64 + 64 * 16)),
        ),
        (
            "jamba",
            plain(attention__head_count_kv=[0, 0, 4, 0], ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16),
            shape(FULL // 4, state=3 * 4 * (3 * 128 + 16 * 128)),
        ),
        (
            "falcon-h1",
            plain(ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16),
            shape(FULL, state=4 * 4 * (3 * 128 + 16 * 128)),
        ),
        (
            "lfm2",
            plain(attention__head_count_kv=[0, 4, 0, 0], shortconv__l_cache=3),
            shape(FULL // 4, state=3 * 4 * 128),
        ),
        (
            "lfm2",
            plain(attention__head_count_kv=[0, 4, 0, 0], shortconv__l_cache=3, attention__sliding_window=64),
            shape(0, FULL // 4, 64, 3 * 4 * 128),
        ),
        (
            "nemotron_h",
            plain(attention__head_count_kv=[4, 0, 0, 4], feed_forward_length=[0, 0, 8, 8], ssm__conv_kernel=4)
            | {"ssm.inner_size": 128, "ssm.state_size": 16},
            shape(FULL // 4, state=4 * (3 * 128 + 16 * 128)),
        ),
        (
            "nemotron_h",
            plain(attention__head_count_kv=[4, 0, 0, 0], ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16),
            shape(FULL // 4, state=3 * 4 * (3 * 128 + 16 * 128)),
        ),
        (
            "qwen3next",
            plain(ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16, full_attention_interval=2),
            shape(FULL // 2, state=2 * 4 * (3 * 128 + 16 * 128)),
        ),
        (
            "qwen3next",
            plain(ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16)
            | {"attention.recurrent_layers": [True, True, False, False]},
            shape(FULL // 2, state=2 * 4 * (3 * 128 + 16 * 128)),
        ),
        (
            "kimi-linear",
            plain(attention__head_count_kv=[0, 1, 0, 1], attention__key_length=40, kda__head_dim=16)
            | {"attention.key_length_mla": 24, "attention.value_length_mla": 16},
            shape(2 * 40 * 2, state=2 * 4 * (3 * 3 * 64 + 16 * 16 * 4)),
        ),
        ("minimax-01", plain(block_count=8), shape(FULL // 4, state=7 * 4 * 16 * 16 * 4)),
        ("minimax-01", plain(block_count=8, attention__key_length=8), shape(4 * 24 * 2, state=7 * 4 * 8 * 8 * 4)),
        # llama.cpp adds layers of its own.
        ("nanbeige", plain(num_loops=3), shape(FULL * 3)),
        ("nanbeige", plain(), shape(FULL)),
        ("graniteswitch", plain(), shape(FULL + 32 * 2)),
        # Without flash attention every layer's values take as much as the largest.
        ("grok", plain(attention__head_count_kv=[1, 1, 1, 4]), shape((7 * 16 + 4 * 64) * 2)),
        # Heads in a later layer only: llama.cpp takes sizes from the first, but for one architecture.
        (
            "plamo2",
            plain(attention__head_count=[0, 4, 4, 4], attention__key_length=8, attention__value_length=8)
            | {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16},
            shape(3 * 4 * 16 * 2, state=4 * (3 * 128 + 16 * 128)),
        ),
    ],
)
def test_the_cache_follows_the_layers(architecture: str, keys: Keys, expected: CacheShape) -> None:
    assert shape_of(architecture, keys) == expected


COMPRESSED = {"attention.key_length": 40, "attention.key_length_mla": 24, "attention.value_length_mla": 16}


@pytest.mark.parametrize(
    ("architecture", "more", "values"),
    [
        ("deepseek32", COMPRESSED, 4 * (4 * 40 + 8)),
        ("deepseek32", {}, 4 * (4 * 32 + 8 + 16)),
        ("glm-dsa", COMPRESSED | {"nextn_predict_layers": 1}, 3 * (4 * 40 + 8)),
        ("hy_v4", COMPRESSED, 4 * (4 * 40 + 8)),
        ("minimax-m3", {}, 4 * (4 * 32 + 8 + 16)),
        ("dots3note", COMPRESSED | {"attention.indexer.types": [1, 0, 0, 1]}, 4 * 4 * 40 + 2 * 8),
        ("dots3note", COMPRESSED, 4 * 4 * 40),
    ],
)
def test_an_index_of_tokens_takes_its_room(architecture: str, more: Keys, values: int) -> None:
    keys = plain() | {"attention.indexer.key_length": 8} | more
    assert shape_of(architecture, keys) == shape(2 * values)


def test_an_index_over_windows_has_the_size_of_their_keys() -> None:
    keys = plain() | COMPRESSED | {"attention.indexer.key_length": 8, "attention.indexer.types": [1, 1, 0, 0]}
    keys |= {"attention.sliding_window": 64, "attention.sliding_window_pattern": [0, 1, 1, 1]}
    keys |= {"attention.key_length_swa": 10}
    assert shape_of("dots3note", keys) == shape(2 * (4 * 40 + 8 + 10), 2 * 3 * 4 * 10, 64)


def test_hybrids_with_an_index_have_all_three() -> None:
    ssm = {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16}
    keys = plain() | {"attention.indexer.key_length": 8} | ssm
    state = 3 * 4 * (3 * 128 + 16 * 128)
    assert shape_of("qwen4exp", keys) == shape(2 * (4 * 32 + 8), state=state)
    history = {"ple.layers": [0], "ple.conv_kernel": 4, "ple.ngram_size": 3, "hyper_connection.count": 2}
    assert shape_of("qwen4exp", keys | history) == shape(2 * (4 * 32 + 8), state=state + 3 * 4 * 3 * 3 * 2 * 64)
    kda = COMPRESSED | {"kda.head_dim": 16, "attention.head_count_kv": [0, 1, 0, 0], "attention.indexer.key_length": 8}
    assert shape_of("glm5-next", plain() | kda) == shape(2 * (40 + 24), state=3 * 4 * (3 * 3 * 64 + 16 * 16 * 4))


def test_deepseek_4_keeps_a_window_and_compressed_keys() -> None:
    keys = plain(attention__head_count_kv=1, attention__key_length=32, attention__sliding_window=64)
    keys |= {"attention.indexer.key_length": 8, "attention.compress_ratios": [0, 4, 128, 7]}
    found = shape_of("deepseek4", keys)
    assert (found.window_token_bytes, found.window_tokens) == (4 * 32 * 2, 64)
    assert found.token_bytes == 40 * 2 // 4 + 1
    assert found.state_bytes == 256 * 2 * (40 + 32) + 8 * (16 * 40 + 128 * 32)
    without = shape_of("deepseek4", {name: value for name, value in keys.items() if "ratios" not in name})
    assert (without.token_bytes, without.state_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("architecture", "keys", "why"),
    [
        ("llama", {"embedding_length": None}, "llama.embedding_length is missing or no positive"),
        ("llama", {"block_count": None}, "llama.block_count is missing or no positive"),
        ("llama", {"block_count": 0}, "llama.block_count is missing or no positive"),
        ("llama", {"block_count": 513}, "says 513; llama.cpp reads at most 512 layers"),
        ("llama", {"block_count": Typed(U64, 4)}, "llama.block_count is of a type that llama.cpp does not read"),
        ("llama", {"attention.head_count": None}, "llama.attention.head_count is missing or no positive"),
        ("llama", {"attention.head_count": 0}, "llama.attention.head_count is missing or no positive"),
        ("llama", {"attention.head_count": [0] * 4}, "llama.attention.head_count is missing or no positive"),
        ("llama", {"attention.head_count": "4"}, "llama.attention.head_count is of a type"),
        ("llama", {"attention.head_count": [4, 4]}, "llama.attention.head_count has 2 items for 4 layers"),
        ("llama", {"attention.head_count": ["a"] * 4}, "is a list that llama.cpp does not read"),
        ("llama", {"attention.key_length": 4.0}, "llama.attention.key_length is of a type"),
        ("llama", {"nextn_predict_layers": 4}, "leaves no layer that computes"),
        ("llama", {"attention.head_count_kv": 2**31, "attention.key_length": 2**31}, "no sensible size"),
        ("gemma3", {"attention.sliding_window": 64, "attention.sliding_window_pattern": 1}, "applies to no layer"),
        (
            "gemma3",
            {"attention.sliding_window": 64, "attention.sliding_window_pattern": [0] * 4},
            "applies to no layer",
        ),
        ("gemma3", {"attention.sliding_window": 64, "attention.sliding_window_pattern": [1] * 513}, "512 items"),
        ("mamba", {"attention.head_count": 0}, "mamba.ssm.inner_size is missing"),
        ("rwkv7", {}, "rwkv7.wkv.head_size is missing"),
        ("rwkv7", {"wkv.head_size": 2**31, "embedding_length": 2**31}, "no sensible size"),
        ("lfm2", {"attention.head_count_kv": [0] * 4}, "lfm2.shortconv.l_cache is missing"),
        ("kimi-linear", {"attention.head_count_kv": [0] * 4}, "kimi-linear.kda.head_dim is missing"),
        ("qwen3next", {"full_attention_interval": 0}, "full_attention_interval is 0"),
        ("qwen3next", {"attention.recurrent_layers": [True]}, "recurrent_layers has 1 items for 4 layers"),
        ("nanbeige", {"num_loops": 0}, "nanbeige.num_loops makes no possible number"),
        ("nanbeige", {"num_loops": 200}, "nanbeige.num_loops makes no possible number"),
        ("deepseek4", {}, "deepseek4.attention.sliding_window is missing"),
    ],
)
def test_a_number_that_llama_cpp_needs_is_named(architecture: str, keys: Keys, why: str) -> None:
    with pytest.raises(GgufError, match=why.replace(".", r"\.")):
        shape_of(architecture, plain() | keys)


def test_gemma_3_27b_takes_a_fifth_of_what_full_attention_would() -> None:
    found = shape_of(*PUBLISHED["Gemma 3 27B"])
    assert found.cache_bytes(32_768, 512) == 3184 * MIB
    full = 62 * 16 * (128 + 128) * 2
    assert found.token_bytes + found.window_token_bytes == full
    assert full * 32_768 > 4.9 * found.cache_bytes(32_768, 512)


@pytest.mark.parametrize("architecture", sorted(TEXT))
def test_every_architecture_has_a_cache(architecture: str) -> None:
    assert shape_of(architecture, small_head(architecture)).cache_bytes(4096, 512) > 0


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_cache_of_a_published_model_is_smaller_than_its_weights_would_be_in_half_precision(name: str) -> None:
    architecture, keys = PUBLISHED[name]
    assert 2**22 < shape_of(architecture, keys).cache_bytes(32_768, 512) < 2**34
