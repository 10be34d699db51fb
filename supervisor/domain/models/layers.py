"""Which layers of a model see the whole context, which a window of it, and which keep a state. Pure.

The facts follow the pinned llama.cpp: load_arch_hparams in src/models/*.cpp and create_memory in src/llama-model.cpp.
Where a layer is in doubt it counts as one that sees the whole context, which takes most.
"""

from dataclasses import dataclass, replace

from supervisor.domain.models.gguf_head import GgufError
from supervisor.domain.models.hyperparameters import MAX_LAYERS, Hyperparameters

__all__ = ["Layers", "read_layers"]


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a model, as flags and numbers for each of them."""

    count: int
    """Number of layers, with those that only predict further tokens."""
    trunk: int
    """Number of layers without those that only predict further tokens: they are not used here."""
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    """Number of heads of keys and values."""
    windowed: tuple[bool, ...]
    """Whether a layer sees only the latest tokens."""
    window_tokens: int
    recurrent: tuple[bool, ...]
    """Whether a layer keeps a state instead of keys and values."""
    attending: tuple[bool, ...]
    """Whether a layer has keys and values of its own."""


@dataclass(frozen=True, slots=True)
class _Window:
    """How an architecture uses sliding windows."""

    every: int
    """Every how many layers there is one that sees the whole context; 0: the file lists the layers."""
    full_first: bool = False
    """Whether the first of those layers, and not the last, sees the whole context."""
    usual_tokens: int = 0
    """Size of the window where the file names none; 0: there is no window then."""
    fixed_tokens: int = 0
    """Size of the window, in place of the file's number; 0: the file's number counts."""


_WINDOWS = {
    "afmoe": _Window(4),
    "cohere2": _Window(4),
    "cohere2moe": _Window(4, full_first=True),
    "dots3note": _Window(0),
    "exaone-moe": _Window(4, usual_tokens=128),
    "exaone4": _Window(4, usual_tokens=4096),
    "gemma2": _Window(2, usual_tokens=4096),
    "gemma3": _Window(6),
    "gemma3n": _Window(5),
    "gemma4": _Window(0),
    "gpt-oss": _Window(2),
    "granite_swa": _Window(0),
    "laguna": _Window(4, full_first=True),
    "llama4": _Window(4, usual_tokens=8192, fixed_tokens=8192),
    "maple": _Window(0),
    "mellum": _Window(4),
    "mimo2": _Window(0),
    "muse-glimmer": _Window(4),
    "olmo2": _Window(4),
    "plamo3": _Window(8),
    "smallthinker": _Window(4, full_first=True, fixed_tokens=4096),
    "spark2_5": _Window(0),
    "step35": _Window(0),
}
# EXAONE 4 has windows in its model of 64 layers only.
_EXAONE4_LAYERS = 64
_GEMMA3N_OWN_LAYERS = 20
_WITHOUT_ATTENTION = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_NAMES_BY_HEADS = (
    "bailingmoe3 glm5-next granitehybrid jamba kimi-k3 kimi-linear lfm2 lfm2moe nemotron_h nemotron_h_moe plamo2"
)
# A layer without heads of keys and values keeps a state.
_BY_HEADS = frozenset(_NAMES_BY_HEADS.split())
# Every how many layers there is one with attention, where the file does not say.
_INTERVALS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "qwen4exp": 4, "minimax-01": 8}


def _pad(flags: tuple[bool, ...], count: int) -> tuple[bool, ...]:
    return (flags + (False,) * count)[:count]


def _find_windows(keys: Hyperparameters, layers: Layers) -> Layers:
    window = _WINDOWS.get(keys.architecture)
    if window is None or (keys.architecture == "exaone4" and layers.trunk != _EXAONE4_LAYERS):
        return layers
    tokens = keys.get("attention.sliding_window", window.usual_tokens)
    pattern = keys.head.numbers(keys.key("attention.sliding_window_pattern"))
    if tokens == 0 or (window.every == 0 and pattern is None):
        return layers
    if pattern is None:
        every = keys.get("attention.sliding_window_pattern", window.every)
        full = 0 if window.full_first else every - 1
        flags = tuple(every == 0 or layer % every != full for layer in range(layers.trunk))
    else:
        flags = tuple(map(bool, pattern))
    windowed = _pad(flags, layers.count)
    if not any(windowed):
        message = f"its key {keys.key('attention.sliding_window')} applies to no layer; llama.cpp does not load it"
        raise GgufError(message)
    return replace(layers, windowed=windowed, window_tokens=window.fixed_tokens or tokens)


def _recurrent_flags(keys: Hyperparameters, layers: Layers) -> tuple[bool, ...]:
    if keys.architecture in _BY_HEADS:
        return tuple(heads == 0 for heads in layers.kv_heads)
    listed = keys.per_layer("attention.recurrent_layers", layers.count)
    if listed is not None:
        return tuple(map(bool, listed))
    interval = keys.get("full_attention_interval", _INTERVALS[keys.architecture])
    if interval == 0:
        message = f"its key {keys.key('full_attention_interval')} is 0"
        raise GgufError(message)
    return tuple((layer + 1) % interval != 0 for layer in range(layers.trunk))


def _find_states(keys: Hyperparameters, layers: Layers) -> Layers:
    every, none = (True,) * layers.count, (False,) * layers.count
    if keys.architecture in _WITHOUT_ATTENTION:
        return replace(layers, recurrent=_pad(every[: layers.trunk], layers.count), attending=none)
    if keys.architecture == "falcon-h1":
        return replace(layers, recurrent=every, attending=every)
    if keys.architecture not in _BY_HEADS and keys.architecture not in _INTERVALS:
        return layers
    recurrent = _pad(_recurrent_flags(keys, layers)[: layers.trunk], layers.count)
    attending = tuple(not flag for flag in recurrent)
    if keys.architecture in {"nemotron_h", "nemotron_h_moe"}:
        # A layer of these does one thing: attend, keep a state, or compute (feed_forward_length).
        widths = keys.per_layer("feed_forward_length", layers.count) or (0,) * layers.count
        recurrent = tuple(flag and not width for flag, width in zip(recurrent, widths, strict=True))
        attending = tuple(flag and not width for flag, width in zip(attending, widths, strict=True))
    layers = replace(layers, recurrent=recurrent, attending=attending)
    window_tokens = keys.get("attention.sliding_window") if keys.architecture == "lfm2" else 0
    return replace(layers, windowed=attending, window_tokens=window_tokens) if window_tokens else layers


def _share_keys(keys: Hyperparameters, layers: Layers) -> Layers:
    """Leave out the layers that use the keys and values of another layer."""
    own = layers.count
    if keys.architecture == "gemma3n":
        own = _GEMMA3N_OWN_LAYERS
    elif keys.architecture == "gemma4":
        own = layers.count - keys.get("attention.shared_kv_layers")
    return replace(layers, attending=tuple(flag and number < own for number, flag in enumerate(layers.attending)))


def _repeat(keys: Hyperparameters, layers: Layers) -> Layers:
    """Count the layers that llama.cpp adds: a loop over all of them, or one that chooses an adapter."""
    if keys.architecture == "nanbeige":
        loops = keys.get("num_loops", 1)
        if not 1 <= loops * layers.trunk <= MAX_LAYERS:
            message = f"its key {keys.key('num_loops')} makes no possible number of layers"
            raise GgufError(message)
        count = layers.trunk * loops
        return _new_layers(count, 0, layers.heads[: layers.trunk] * loops, layers.kv_heads[: layers.trunk] * loops)
    if keys.architecture == "graniteswitch":
        return _new_layers(
            layers.trunk + 1, 0, (*layers.heads[: layers.trunk], 1), (*layers.kv_heads[: layers.trunk], 1)
        )
    return layers


def _new_layers(count: int, predicting: int, heads: tuple[int, ...], kv_heads: tuple[int, ...]) -> Layers:
    trunk = count - predicting
    return Layers(
        count=count,
        trunk=trunk,
        heads=heads,
        kv_heads=kv_heads,
        windowed=(False,) * count,
        window_tokens=0,
        recurrent=(False,) * count,
        attending=_pad((True,) * trunk, count),
    )


def read_layers(keys: Hyperparameters) -> Layers:
    """Return the layers of a model.

    Raises:
        GgufError: a number that llama.cpp needs is missing or makes no sense; the message names its key.
    """
    count = keys.layers
    predicting = keys.get("nextn_predict_layers")
    if predicting >= count:
        message = f"its key {keys.key('nextn_predict_layers')} leaves no layer that computes the next token"
        raise GgufError(message)
    zero = (0,) * count
    heads = keys.per_layer("attention.head_count", count) or zero
    kv_heads = keys.per_layer("attention.head_count_kv", count) or heads
    if not any(heads) and keys.architecture not in _WITHOUT_ATTENTION:
        message = f"its key {keys.key('attention.head_count')} is missing or no positive number"
        raise GgufError(message)
    layers = _new_layers(count, predicting, heads, kv_heads)
    for step in (_find_windows, _find_states, _share_keys, _repeat):
        layers = step(keys, layers)
    return layers
