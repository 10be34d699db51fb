"""What a GGUF file says of itself, and whether its tensors bear that out."""

import re
from collections import Counter
from pathlib import Path

from contracts.execution.execution_plan import TensorTypeCount
from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.document import sha256_digest
from contracts.wire.types import Digest
from supervisor.adapters.installation.gguf_file import MAX_HEAD_BYTES, GgufError, GgufHead, parse_gguf
from supervisor.adapters.installation.gguf_types import FILE_TYPES
from supervisor.domain.errors import EngineError
from supervisor.domain.models.cache_shape import CacheShape
from supervisor.domain.models.model_header import GgufHeader, ModelDescription

__all__ = ["GgufHeader", "judge_head", "read_gguf_header"]

CHAT_TEMPLATE_KEY = "tokenizer.chat_template"
KV_ELEMENT_BYTES = 2  # llama.cpp keeps keys and values as 16-bit floats by default
# llama.cpp's quantizer replaces a type whose block of 256 does not divide the row by one with blocks of 32.
_FALLBACKS = {
    "q2_k": {"q4_0", "iq4_nl"},
    "q3_k": {"q4_0", "iq4_nl"},
    "q4_k": {"q5_0"},
    "q5_k": {"q5_1"},
    "q6_k": {"q8_0"},
}


def _refuse(path: Path, why: str) -> EngineError:
    return EngineError("model_refused", f"{path.name} is refused: {why}")


def _declared_quantization(head: GgufHead) -> str | None:
    number = head.values.get("general.file_type")
    return FILE_TYPES.get(number) if isinstance(number, int) else None


def _dominant_type(head: GgufHead) -> str:
    # Norms and biases stay in 32-bit floats; embeddings and output have rules of their own.
    elements: Counter[str] = Counter()
    for tensor in head.tensors:
        if tensor.name.startswith("blk.") and tensor.dimensions > 1:
            elements[tensor.type] += tensor.elements
    return elements.most_common(1)[0][0] if elements else "none"


def _base_type(quantization: str) -> str:
    head, _, size = quantization.rpartition("_")
    return head if size in {"s", "m", "l", "xs", "xl"} else quantization


def _architecture(head: GgufHead) -> str:
    name = head.values.get("general.architecture")
    # The shape that a plan can name.
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        message = "it names no architecture"
        raise GgufError(message)
    return name


def _integer(head: GgufHead, key: str, default: int | None = None) -> int:
    value = head.values.get(key, default)
    # Some models have a number for each layer; the largest counts.
    largest = max(value, default=None) if isinstance(value, tuple) else value
    if not isinstance(largest, int) or isinstance(largest, bool) or not 1 <= largest <= MAX_SAFE_INTEGER:
        message = f"its key {key} is missing or no positive number"
        raise GgufError(message)
    return largest


def _kv_bytes_per_token(head: GgufHead, architecture: str) -> int:
    heads = _integer(head, f"{architecture}.attention.head_count")
    kv_heads = _integer(head, f"{architecture}.attention.head_count_kv", heads)
    head_size = _integer(head, f"{architecture}.embedding_length") // heads
    key_size = _integer(head, f"{architecture}.attention.key_length", head_size)
    value_size = _integer(head, f"{architecture}.attention.value_length", head_size)
    total = _integer(head, f"{architecture}.block_count") * kv_heads * (key_size + value_size) * KV_ELEMENT_BYTES
    if total > MAX_SAFE_INTEGER:
        message = "its key-value cache would have no sensible size"
        raise GgufError(message)
    return total


def _mixture(head: GgufHead) -> tuple[TensorTypeCount, ...]:
    elements: Counter[str] = Counter()
    for tensor in head.tensors:
        elements[tensor.type] += tensor.elements
    ordered = sorted(elements.items(), key=lambda item: (-item[1], item[0]))
    return tuple(TensorTypeCount(type=name, elements=count) for name, count in ordered)


def _chat_template(head: GgufHead) -> Digest | None:
    template = head.values.get(CHAT_TEMPLATE_KEY)
    return sha256_digest(template.encode("utf-8")) if isinstance(template, str) and template else None


def _describe(head: GgufHead, architecture: str) -> ModelDescription:
    def text(key: str) -> str | None:
        value = head.values.get(key)
        return value[:256] if isinstance(value, str) and value else None

    return ModelDescription(
        name=text("general.name"),
        author=text("general.author") or text("general.organization"),
        license=text("general.license"),
        license_link=text("general.license.link"),
        source=text("general.source.url") or text("general.repo_url"),
        description=text("general.description"),
        size_label=text("general.size_label"),
        tokenizer=text("tokenizer.ggml.model") or "none",
        vocabulary_tokens=0,
        parameters=sum(tensor.elements for tensor in head.tensors),
        layers=_integer(head, f"{architecture}.block_count"),
        embedding_length=_integer(head, f"{architecture}.embedding_length"),
        experts=0,
        experts_used=0,
    )


def judge_head(head: GgufHead) -> GgufHeader:
    """Take from a file's head what the engine needs, and hold it against the tensors.

    Raises:
        GgufError: something is missing, makes no sense, or is not what the tensors are.
    """
    architecture = _architecture(head)
    dominant = _dominant_type(head)
    header = GgufHeader(
        architecture=architecture,
        quantization=_declared_quantization(head) or dominant,
        context_length=_integer(head, f"{architecture}.context_length"),
        cache=CacheShape(
            token_bytes=_kv_bytes_per_token(head, architecture), window_token_bytes=0, window_tokens=0, state_bytes=0
        ),
        mixture=_mixture(head),
        chat_template=_chat_template(head),
        description=_describe(head, architecture),
    )
    base = _base_type(header.quantization)
    if dominant not in {header.quantization, base, *_FALLBACKS.get(base, ())}:
        message = f"its header says {header.quantization}, but most of its weights are {dominant}"
        raise GgufError(message)
    return header


def read_gguf_header(path: Path) -> GgufHeader:
    """Read a model file's header and hold it against the tensors.

    Raises:
        EngineError: ``model_refused``; it is no GGUF model, or its tensors are of another type than it declares.
    """
    with path.open("rb") as file:
        head, file_bytes = file.read(MAX_HEAD_BYTES), path.stat().st_size
    try:
        parsed = parse_gguf(head, file_bytes)
    except GgufError as error:
        raise _refuse(path, f"it is not a readable GGUF model: {error}") from error
    try:
        return judge_head(parsed)
    except GgufError as error:
        raise _refuse(path, str(error)) from error
