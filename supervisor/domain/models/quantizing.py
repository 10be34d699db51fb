"""What a model can be quantized to, what that needs, and what the quantizer says of its progress. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.domain.errors import EngineError
from supervisor.domain.models.gguf_head import Tensor

__all__ = ["TARGETS", "QuantizationNeeds", "estimate_needs", "parse_progress", "require_target"]

# enum llama_ftype, without those that need an importance matrix of a text, which the engine does not make.
TARGETS = {
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q8_0": 7,
    "q5_0": 8,
    "q5_1": 9,
    "q3_k_s": 11,
    "q3_k_m": 12,
    "q3_k_l": 13,
    "q4_k_s": 14,
    "q4_k_m": 15,
    "q5_k_s": 16,
    "q5_k_m": 17,
    "q6_k": 18,
    "iq4_nl": 25,
    "iq4_xs": 30,
    "bf16": 32,
}
UNQUANTIZED = frozenset({"f32", "f16", "bf16"})
FLOAT_BYTES = 4
# The alignment of tensors that files have; the quantizer keeps it.
ALIGNMENT_BYTES_MAX = 4096
# No target has more bytes for a weight of a matrix: f16 has 2, and what is quantized 34 for 32 (q8_0).
WEIGHT_BYTES_MAX = 2
# The quantizer holds a tensor in 32-bit floats and its result, and reads the original through a mapping.
TENSOR_BYTES_PER_WEIGHT = 2 * FLOAT_BYTES
# What the engine reads of a file to find its tensors; a larger head is refused.
HEAD_BYTES_MAX = 64 << 20
# The head may grow by a few keys, and tensors are aligned.
HEAD_MARGIN_BYTES = 1 << 20
_PROGRESS = re.compile(rb"\[ {0,8}([0-9]{1,6})/ {0,8}([0-9]{1,6})\] ")


@dataclass(frozen=True, slots=True)
class QuantizationNeeds:
    """What a quantization may take."""

    memory_bytes: int
    output_bytes: int
    """Upper bound of the result's size."""


def require_target(source: str, target: str) -> int:
    """Return the number of a file type, if a model can be quantized to it.

    Raises:
        EngineError: ``quantization_refused``.
    """
    if target not in TARGETS:
        detail = f"a model cannot be quantized to {target}; possible are {', '.join(sorted(TARGETS))}"
        raise EngineError("quantization_refused", detail)
    if target == source:
        raise EngineError("quantization_refused", f"the model is {source} already")
    return TARGETS[target]


def estimate_needs(tensors: Iterable[Tensor], source_bytes: int, base_bytes: int) -> QuantizationNeeds:
    """Return upper bounds of the memory and of the result.

    Args:
        tensors: the model's.
        source_bytes: size of its file, which bounds the size of its head.
        base_bytes: memory beside the largest tensor.
    """
    largest = data_bytes = 0
    for tensor in tensors:
        largest = max(largest, tensor.elements)
        # Some tensors stay as they are, among them all of one dimension.
        data_bytes += max(tensor.elements * WEIGHT_BYTES_MAX, tensor.size_bytes) + ALIGNMENT_BYTES_MAX
    return QuantizationNeeds(
        memory_bytes=base_bytes + largest * TENSOR_BYTES_PER_WEIGHT,
        output_bytes=data_bytes + min(source_bytes, HEAD_BYTES_MAX) + HEAD_MARGIN_BYTES,
    )


def parse_progress(line: bytes) -> tuple[int, int] | None:
    """Return the number of tensors done and of all tensors, or None if the line says nothing of them."""
    found = _PROGRESS.match(line)
    if found is None:
        return None
    done, total = int(found[1]), int(found[2])
    return (done, total) if done <= total else None
