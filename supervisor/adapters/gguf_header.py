"""What a GGUF file says of itself, and whether its tensors bear that out."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType

from supervisor.domain.errors import EngineError

__all__ = ["GgufHeader", "read_gguf_header"]

KV_ELEMENT_BYTES = 2  # llama.cpp keeps keys and values as 16-bit floats by default
# llama.cpp's quantizer replaces a type whose block of 256 does not divide the row by one with blocks of 32.
_FALLBACKS = {
    "q2_k": {"q4_0", "iq4_nl"},
    "q3_k": {"q4_0", "iq4_nl"},
    "q4_k": {"q5_0"},
    "q5_k": {"q5_1"},
    "q6_k": {"q8_0"},
}


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The facts that the engine needs."""

    architecture: str
    quantization: str
    context_length: int
    kv_bytes_per_token: int


def _refuse(path: Path, why: str) -> EngineError:
    return EngineError("model_refused", f"{path.name} is refused: {why}")


def _declared_quantization(reader: GGUFReader) -> str | None:
    field = reader.get_field("general.file_type")
    if field is None:
        return None
    try:
        name = LlamaFileType(int(field.contents())).name
    except ValueError:
        return None
    return name.removeprefix("ALL_").removeprefix("MOSTLY_").lower()


def _dominant_type(reader: GGUFReader) -> str:
    # Norms and biases stay in 32-bit floats; embeddings and output have rules of their own.
    elements: Counter[str] = Counter()
    for tensor in reader.tensors:
        if str(tensor.name).startswith("blk.") and len(tensor.shape) > 1:
            elements[GGMLQuantizationType(tensor.tensor_type).name.lower()] += int(tensor.n_elements)
    return elements.most_common(1)[0][0] if elements else "none"


def _base_type(quantization: str) -> str:
    head, _, size = quantization.rpartition("_")
    return head if size in {"s", "m", "l", "xs", "xl"} else quantization


def _integer(reader: GGUFReader, key: str, default: int | None = None) -> int:
    field = reader.get_field(key)
    if field is None:
        if default is None:
            raise ValueError(key)
        return default
    value: Any = field.contents()
    return max(value) if isinstance(value, list) else int(value)


def _kv_bytes_per_token(reader: GGUFReader, architecture: str) -> int:
    heads = _integer(reader, f"{architecture}.attention.head_count")
    kv_heads = _integer(reader, f"{architecture}.attention.head_count_kv", heads)
    head_size = _integer(reader, f"{architecture}.embedding_length") // max(1, heads)
    key_size = _integer(reader, f"{architecture}.attention.key_length", head_size)
    value_size = _integer(reader, f"{architecture}.attention.value_length", head_size)
    return _integer(reader, f"{architecture}.block_count") * kv_heads * (key_size + value_size) * KV_ELEMENT_BYTES


def read_gguf_header(path: Path) -> GgufHeader:
    """Read a model file's header and hold it against the tensors.

    Raises:
        EngineError: ``model_refused``; it is no GGUF model, or its tensors are of another type than it declares.
    """
    try:
        reader = GGUFReader(path)
        field = reader.get_field("general.architecture")
        architecture = str(field.contents()) if field is not None else ""
        declared, dominant = _declared_quantization(reader), _dominant_type(reader)
        header = GgufHeader(
            architecture=architecture,
            quantization=declared or dominant,
            context_length=_integer(reader, f"{architecture}.context_length"),
            kv_bytes_per_token=_kv_bytes_per_token(reader, architecture),
        )
    except OSError:
        raise
    except Exception as error:
        # The reader is a third party's parser on a file of unknown origin: whatever it raises means the same.
        raise _refuse(path, f"it is not a readable GGUF model ({type(error).__name__})") from error
    base = _base_type(header.quantization)
    if dominant != base and dominant not in _FALLBACKS.get(base, set()):
        raise _refuse(path, f"its header says {header.quantization}, but most of its weights are {dominant}")
    return header
