"""Which types of weights a quantization stands for, and whether a file's label is true. Pure.

A label such as `iq3_m` names a mixture: llama.cpp's quantizer chooses a type for each tensor (llama_tensor_get_type in
src/llama-quant.cpp), and authors choose other types for some tensors. So a file is held against the types that its
label stands for, and refused only where none of them occurs. The mixture itself is told with the model.
"""

import re
from collections import Counter
from collections.abc import Iterable

from contracts.execution.execution_plan import TensorTypeCount
from contracts.wire.canonical import MAX_SAFE_INTEGER
from supervisor.domain.models.gguf_head import GgufError, GgufHead, Tensor
from supervisor.domain.models.gguf_types import FILE_TYPES, GUESSED_FILE_TYPE, TENSOR_TYPES

__all__ = ["judge_quantization", "measure_mixture", "normal_quantization"]

_LOW = frozenset({"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "q2_k", "tq1_0", "tq2_0"})
_THREE = frozenset({"iq3_xxs", "iq3_s", "q3_k"})
_FOUR = frozenset({"iq4_xs", "iq4_nl"})
# The types that most weights of a label have, by the first part of the label. Dynamic mixtures (Unsloth's "UD") give
# single layers less than the label says, so the labels of few bits stand for all types of about as many.
_TYPES = {
    "iq1": _LOW,
    "iq2": _LOW | {"iq3_xxs", "iq3_s"},
    "q2_k": _LOW | {"iq3_xxs", "iq3_s", "q3_k"},
    "tq1_0": _LOW,
    "tq2_0": _LOW,
    "iq3": _THREE | {"iq2_xxs", "iq2_xs", "iq2_s"},
    "q3_k": _THREE | {"iq2_s", "q2_k", "iq4_xs"},
    "iq4": _FOUR,
    "q4_k": _FOUR | {"q4_k"},
    "q5_k": frozenset({"q5_k"}),
    # The quantizer gives only experts this type, and all other weights `q8_0`.
    "mxfp4_moe": frozenset({"mxfp4", "q8_0"}),
}
# Formats in which models are published. The quantizer leaves them as they are under every label (gpt-oss).
_PUBLISHED = frozenset({"mxfp4", "nvfp4"})
# What takes the place of a type whose blocks do not divide a row (tensor_type_fallback).
_FALLBACKS = {
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_xs"), "iq4_nl"),
    **dict.fromkeys(("q2_0", "q2_k", "q3_k", "tq1_0", "tq2_0"), "q4_0"),
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
}
_BLOCKS = {name: block for name, block, _ in TENSOR_TYPES.values()}
_FALLBACK_BLOCK = 32
# How llama.cpp names a file by the type of most weights, where that is no label itself (llama_model_loader), and the
# other spellings that llama-quantize takes.
_LABELS = {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m", "mxfp4": "mxfp4_moe"}
# Weights that are never quantized, beside those of one dimension (tensor_allows_quantization).
_KEPT = re.compile(r"_norm|ffn_gate_inp|altup|laurel|ssm_conv1d|shortconv\.conv|time_mix_|position_embd|token_types")


def normal_quantization(text: str) -> str:
    """Return a quantization as the engine spells it: `Q4_K_M` and `Q4_K` are `q4_k_m`."""
    lowered = text.lower()
    return _LABELS.get(lowered, lowered)


def _count(tensors: Iterable[Tensor]) -> Counter[str]:
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[tensor.type] += tensor.elements
    return elements


def measure_mixture(head: GgufHead) -> tuple[TensorTypeCount, ...]:
    """Return how many weights have which type, the most frequent type first.

    Raises:
        GgufError: there are more weights than a plan can count.
    """
    elements = _count(head.tensors)
    if sum(elements.values()) > MAX_SAFE_INTEGER:
        message = "it claims more weights than can be counted"
        raise GgufError(message)
    ordered = sorted(elements.items(), key=lambda item: (-item[1], item[0]))
    return tuple(TensorTypeCount(type=name, elements=count) for name, count in ordered)


def _weights(head: GgufHead) -> list[Tensor]:
    """Return the tensors that a quantizer works on: those of the layers, else all with more than one dimension."""
    wide = [tensor for tensor in head.tensors if len(tensor.shape) > 1 and not _KEPT.search(tensor.name)]
    layers = [tensor for tensor in wide if tensor.name.startswith("blk.")]
    return layers or wide or list(head.tensors)


def _types_of(label: str) -> frozenset[str]:
    if label in _TYPES:
        return _TYPES[label]
    for part in (label.rpartition("_")[0], label.partition("_")[0]):
        if part in _TYPES:
            return _TYPES[part]
    return frozenset({label})


def _is_of(tensor: Tensor, types: frozenset[str]) -> bool:
    if tensor.type in types:
        return True
    for wanted in types:
        if tensor.row % _BLOCKS.get(wanted, 1):
            fallback = _FALLBACKS.get(wanted, wanted) if tensor.row % _FALLBACK_BLOCK == 0 else "f16"
            if tensor.type == fallback:
                return True
    return False


def _most_frequent(weights: list[Tensor]) -> str:
    name = _count(weights).most_common(1)[0][0]
    return _LABELS.get(name, name)


def judge_quantization(head: GgufHead) -> str:
    """Return the quantization of a file that holds at least one tensor.

    Raises:
        GgufError: the file has a label, and no weights of any type that the label stands for.
    """
    number = head.number("general.file_type")
    weights = _weights(head)
    guessed = number is None or bool(number & GUESSED_FILE_TYPE)
    label = FILE_TYPES.get((number or 0) & ~GUESSED_FILE_TYPE) if number is not None else None
    found = _most_frequent(weights)
    if label is None:
        return found
    published = any(tensor.type in _PUBLISHED for tensor in weights)
    if published or any(_is_of(tensor, _types_of(label)) for tensor in weights):
        return label
    if guessed:
        return found
    told = ", ".join(sorted({tensor.type for tensor in weights}))
    message = f"its header says {label}, but its weights are {told}; get the file again from the author of the model"
    raise GgufError(message)
