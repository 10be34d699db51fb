"""The shape of a model's cache from its head, as the pinned llama.cpp allocates it for one sequence. Pure.

Keys and values are 16-bit floats, states 32-bit floats (llama_context_default_params, create_memory in
src/llama-model.cpp). A test holds the result against llama.cpp itself, for every architecture.
"""

from supervisor.domain.models.cache_shape import CELLS_MULTIPLE, CacheShape
from supervisor.domain.models.gguf_head import GgufError
from supervisor.domain.models.hyperparameters import Hyperparameters
from supervisor.domain.models.layers import Layers, read_layers

__all__ = ["size_cache"]

KV_BYTES = 2
STATE_BYTES = 4
# A tensor begins at a multiple of this number of bytes (TENSOR_ALIGNMENT, and a little more).
TENSOR_MULTIPLE = 64
_NAMES = "bailingmoe3 deepseek2 deepseek32 dots3note glm-dsa glm5-next hy_v4 kimi-k3 kimi-linear mistral4"
# Architectures that keep compressed keys and no values (MLA), where the file has both lengths.
_COMPRESSED = frozenset(_NAMES.split())
# DeepSeek-V4 keeps one key for so many tokens, besides a window (DSV4_CSA_RATIO and DSV4_HCA_RATIO).
_DEEPSEEK4_RATIOS = (4, 128)
_TOKEN_SHIFTS = 2
_USUAL_KERNEL = 4
# Far beyond any model: 1 GiB for each token, and 1 PiB of state. Products with a context stay safe integers.
_MAX_TOKEN_BYTES = 2**30
_MAX_STATE_BYTES = 2**50


class _Sizes:
    """Sizes of keys and values of the layers, in numbers of values."""

    def __init__(self, keys: Hyperparameters, layers: Layers) -> None:
        self._layers = layers
        heads, wide = layers.heads[0], keys.need("embedding_length")
        usual = wide // heads if heads else 0
        # Without heads in the first layer llama.cpp takes no size at all, with one exception.
        reads = heads or keys.architecture == "plamo2"
        self.key = keys.get("attention.key_length", usual) if reads else 0
        self.value = keys.get("attention.value_length", usual) if reads else 0
        self._window_key = keys.get("attention.key_length_swa", self.key)
        self._window_value = keys.get("attention.value_length_swa", self.value)
        compressed = (keys.get("attention.key_length_mla"), keys.get("attention.value_length_mla"))
        self.without_values = keys.architecture in _COMPRESSED and all(compressed)
        # Without flash attention every layer's values take as much as the largest (v_trans).
        self._same_values = keys.architecture == "grok"

    def keys_of(self, layer: int) -> int:
        size = self._window_key if self._layers.windowed[layer] else self.key
        return size * self._layers.kv_heads[layer]

    def values_of(self, layer: int) -> int:
        if self.without_values:
            return 0
        if self._same_values:
            return max(map(self._one_value, range(self._layers.count)))
        return self._one_value(layer)

    def _one_value(self, layer: int) -> int:
        size = self._window_value if self._layers.windowed[layer] else self.value
        return size * self._layers.kv_heads[layer]


def _state_values(keys: Hyperparameters, layers: Layers) -> tuple[int, ...]:
    """Return the sizes of the tensors of one recurrent layer (n_embd_r and n_embd_s in src/llama-hparams.cpp)."""
    heads, wide = layers.heads[0], keys.need("embedding_length")
    if keys.architecture in {"rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"}:
        return keys.get("token_shift_count", _TOKEN_SHIFTS) * wide, wide * keys.need("wkv.head_size")
    if keys.architecture in {"lfm2", "lfm2moe"}:
        return (wide * (keys.need("shortconv.l_cache") - 1),)
    if keys.architecture in {"kimi-linear", "kimi-k3", "glm5-next", "bailingmoe3"}:
        size = keys.need("kda.head_dim")
        kernel = keys.get("ssm.conv_kernel") or _USUAL_KERNEL
        return 3 * (kernel - 1) * heads * size, size * size * heads
    if keys.architecture == "minimax-01":
        size = keys.get("attention.key_length", wide // heads if heads else 0)
        return (size * size * heads,)
    inner, state = keys.need("ssm.inner_size"), keys.need("ssm.state_size")
    groups = keys.get("ssm.group_count")
    return (keys.need("ssm.conv_kernel") - 1) * (inner + 2 * groups * state), state * inner, _history(keys, wide)


def _history(keys: Hyperparameters, wide: int) -> int:
    """Return the size of the history that Qwen 4 keeps for its embeddings of several tokens."""
    if keys.key("ple.layers") not in keys.head.values:
        return 0
    kernel, tokens = keys.get("ple.conv_kernel"), keys.get("ple.ngram_size")
    return max(0, kernel - 1) * tokens * keys.get("hyper_connection.count") * wide


def _index_values(keys: Hyperparameters, layers: Layers, sizes: _Sizes) -> int:
    """Return the size of what a token adds to the index of the layers that choose which tokens to see."""
    size = keys.get("attention.indexer.key_length")
    indexed = sum(layers.attending)
    if keys.architecture in {"deepseek32", "glm-dsa", "hy_v4", "qwen4exp"}:
        return indexed * (size + (0 if sizes.without_values or keys.architecture == "qwen4exp" else sizes.value))
    if keys.architecture == "dots3note":
        types = keys.head.numbers(keys.key("attention.indexer.types")) or ()
        windowed = keys.get("attention.key_length_swa", sizes.key)
        return sum(
            windowed if layers.windowed[layer] else size
            for layer in range(layers.count)
            if any(types[layer : layer + 1])
        )
    if keys.architecture == "glm5-next":
        return indexed * 3 * size
    if keys.architecture == "minimax-m3":
        return indexed * (size + sizes.value)
    return 0


def _deepseek4(keys: Hyperparameters, layers: Layers, sizes: _Sizes) -> CacheShape:
    """Return the cache of DeepSeek-V4: a window in every layer, and compressed keys of the whole context."""
    window_tokens = keys.need("attention.sliding_window")
    ratios = keys.head.numbers(keys.key("attention.compress_ratios")) or ()
    index = keys.get("attention.indexer.key_length")
    token_bytes, state_bytes = 0, 0
    for ratio, heads in zip(ratios, layers.kv_heads, strict=False):
        if ratio not in _DEEPSEEK4_RATIOS:
            continue
        has_index = ratio == min(_DEEPSEEK4_RATIOS)
        beside = index if has_index else 0
        row = KV_BYTES * (sizes.key * heads + beside)
        token_bytes += -(-row // ratio)
        # The cells are padded after the division. The state of a compressor is two tensors of 32-bit floats.
        rows = 2 * ratio * 2 if has_index else ratio
        state_bytes += row * CELLS_MULTIPLE + 2 * STATE_BYTES * rows * (sizes.key + beside)
    return _shape(token_bytes, KV_BYTES * sizes.key * sum(layers.kv_heads), window_tokens, state_bytes)


def _shape(token_bytes: int, window_token_bytes: int, window_tokens: int, state_bytes: int) -> CacheShape:
    if token_bytes + window_token_bytes > _MAX_TOKEN_BYTES or state_bytes > _MAX_STATE_BYTES:
        message = "its cache would have no sensible size: its numbers of heads or their sizes are wrong"
        raise GgufError(message)
    return CacheShape(
        token_bytes=token_bytes,
        window_token_bytes=window_token_bytes,
        window_tokens=window_tokens if window_token_bytes else 0,
        state_bytes=state_bytes,
    )


def size_cache(keys: Hyperparameters) -> CacheShape:
    """Return the shape of a model's cache.

    Raises:
        GgufError: a number that llama.cpp needs is missing or makes no sense; the message names its key.
    """
    layers = read_layers(keys)
    sizes = _Sizes(keys, layers)
    if keys.architecture == "deepseek4":
        return _deepseek4(keys, layers, sizes)
    whole, windowed = 0, 0
    for layer in (number for number in range(layers.count) if layers.attending[number]):
        values = sizes.keys_of(layer) + sizes.values_of(layer)
        if layers.windowed[layer]:
            windowed += values
        else:
            whole += values
    whole += _index_values(keys, layers, sizes)
    states = 0
    if any(layers.recurrent):
        tensors = (STATE_BYTES * size for size in _state_values(keys, layers))
        states = sum(layers.recurrent) * sum(-(-size // TENSOR_MULTIPLE) * TENSOR_MULTIPLE for size in tensors)
    return _shape(KV_BYTES * whole, KV_BYTES * windowed, layers.window_tokens, states)
