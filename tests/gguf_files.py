"""GGUF files composed byte by byte, sound or with a defect. What is written here `gguf` reads alike (by a test)."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.adapters.installation.gguf_file import parse_gguf
from supervisor.domain.models.gguf_head import GgufHead
from supervisor.domain.models.gguf_types import TENSOR_TYPES

__all__ = [
    "TOKENIZER",
    "Typed",
    "compose",
    "key",
    "parse_composed",
    "sound_keys",
    "sound_tensors",
    "text",
    "write_gguf",
]

ALIGNMENT = 32
NUMBERS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}
BLOCKS = {name: (block, size) for name, block, size in TENSOR_TYPES.values()}
# What each Python type becomes, and how `struct` spells the types of values.
KINDS: dict[type, int] = {bool: 7, int: 4, float: 6, str: 8, bytes: 8}
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Typed:
    """A value of a type that Python does not tell by itself, such as a 16-bit number."""

    def __init__(self, kind: int, value: Any) -> None:
        self.kind = kind
        self.value = value


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def _item(kind: int, value: Any) -> bytes:
    return text(value) if kind == 8 else struct.pack("<" + FORMATS[kind], value)


def key(name: str | bytes, value: Any) -> bytes:
    """Return one key with its value."""
    if isinstance(value, Typed):
        items = value.value if isinstance(value.value, list) else None
        kind = value.kind
    else:
        items = value if isinstance(value, list) else None
        kind = KINDS[type(items[0] if items else 0)] if items is not None else KINDS[type(value)]
    plain = value.value if isinstance(value, Typed) else value
    if items is None:
        return text(name) + struct.pack("<I", kind) + _item(kind, plain)
    return text(name) + struct.pack("<IIQ", 9, kind, len(items)) + b"".join(_item(kind, item) for item in items)


TOKENIZER: dict[str, Any] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "a"],
}


def sound_keys(architecture: str = "llama", **more: Any) -> dict[str, Any]:
    """Return the keys of a tiny model; dots in names of `more` are double underscores."""
    own = {
        "context_length": 128,
        "embedding_length": 32,
        "block_count": 2,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
    } | {name.replace("__", "."): value for name, value in more.items()}
    return (
        {"general.architecture": architecture}
        | {f"{architecture}.{name}": value for name, value in own.items()}
        | TOKENIZER
    )


def sound_tensors(*types: str, row: int = 256) -> list[tuple[str, tuple[int, ...], str]]:
    """Return one tensor of a layer for each type, and a norm."""
    wide = [(f"blk.{number}.ffn_up.weight", (row, 4), kind) for number, kind in enumerate(types or ("f32",))]
    return [*wide, ("output_norm.weight", (32,), "f32")]


def compose(
    keys: Mapping[str, Any] | Sequence[bytes],
    tensors: Sequence[tuple[str | bytes, tuple[int, ...], str]] = (),
    *,
    version: int = 3,
    offsets: Mapping[int, int] | None = None,
) -> tuple[bytes, int]:
    """Return a head, and the size of the whole file.

    Args:
        keys: names and values; a value of None is left out.
        tensors: name, shape and type of each.
        version: version of the format.
        offsets: places of tensors, by their number, that are not where they belong.
    """
    values = keys if not isinstance(keys, Mapping) else [key(*pair) for pair in keys.items() if pair[1] is not None]
    end, parts = 0, []
    for number, (name, shape, kind) in enumerate(tensors):
        block, block_bytes = BLOCKS[kind]
        elements = 1
        for size in shape:
            elements *= size
        offset = (offsets or {}).get(number, end)
        parts.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, NUMBERS[kind], offset))
        end += -(-(elements // block * block_bytes) // ALIGNMENT) * ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values)) + b"".join(values) + b"".join(parts)
    head += bytes(-len(head) % ALIGNMENT)
    return head, len(head) + end


def parse_composed(
    keys: Mapping[str, Any], tensors: Sequence[tuple[str | bytes, tuple[int, ...], str]] | None = None
) -> GgufHead:
    """Return the parsed head of a file with these keys; None for the tensors: those of a tiny model."""
    return parse_gguf(*compose(keys, sound_tensors() if tensors is None else tensors))


def write_gguf(
    path: Path, keys: Mapping[str, Any], tensors: Sequence[tuple[str | bytes, tuple[int, ...], str]]
) -> Path:
    """Write a file whose weights are zeros, without taking room for them."""
    head, size_bytes = compose(keys, tensors)
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(size_bytes)
    return path
