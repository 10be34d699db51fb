"""The head of a GGUF file, parsed strictly and within bounds: a file of unknown origin is hostile input.

Layout (ggml/docs/gguf.md): magic, version, number of tensors, number of keys; the keys with typed values; each tensor's
name, shape, type and place; then, aligned, the weights, which are not read here.
"""

import math
import struct
from dataclasses import dataclass

from supervisor.adapters.installation.gguf_types import TENSOR_TYPES

__all__ = ["MAX_HEAD_BYTES", "GgufError", "GgufHead", "Tensor", "parse_gguf"]

# A vocabulary of 256,000 tokens with its merges takes about 20 MiB.
MAX_HEAD_BYTES = 67_108_864
# The largest published models have some 2,000 tensors and 100 keys.
MAX_ENTRIES = 65_536
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_NAME_BYTES = 65_535  # the format's own limit for a key
MAX_TEXT_BYTES = 1_048_576  # chat templates have a few KiB; longer texts are passed over
MAX_KEPT_ITEMS = 4096  # lists with one number for each layer
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
STRING, ARRAY = 8, 9
# Value types as `struct` spells them.
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_INTEGERS = frozenset({0, 1, 2, 3, 4, 5, 10, 11})

Value = int | float | bool | str | tuple[int, ...] | None


class GgufError(Exception):
    """The bytes are no sound GGUF file; the message says why."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as the file declares it."""

    name: str
    type: str
    dimensions: int
    elements: int


@dataclass(frozen=True, slots=True)
class GgufHead:
    """What a file declares; a value is None where it is a list or a text that is not kept."""

    values: dict[str, Value]
    tensors: tuple[Tensor, ...]


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def skip(self, size: int) -> int:
        """Advance by a number of bytes and return where they began."""
        begin, self.at = self.at, self.at + size
        if self.at > len(self._data):
            message = f"its head ends early, or has more than {MAX_HEAD_BYTES} bytes"
            raise GgufError(message)
        return begin

    def number(self, form: str) -> int:
        layout = "<" + form
        value: int = struct.unpack_from(layout, self._data, self.skip(struct.calcsize(layout)))[0]
        return value

    def numbers(self, form: str, count: int) -> tuple[int, ...]:
        layout = f"<{count}{form}"
        return struct.unpack_from(layout, self._data, self.skip(struct.calcsize(layout)))

    def raw(self) -> bytes:
        """Return the bytes of a string."""
        size = self.number("Q")
        begin = self.skip(size)
        return self._data[begin : begin + size]

    def name(self) -> str:
        raw = self.raw()
        if len(raw) > MAX_NAME_BYTES:
            message = "a name in it is too long"
            raise GgufError(message)
        return _decode(raw)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        message = "a text in it is not UTF-8"
        raise GgufError(message) from error


def _read_value(cursor: _Cursor, kind: int) -> Value:
    if kind in _FORMATS:
        return cursor.number(_FORMATS[kind])
    if kind == STRING:
        raw = cursor.raw()
        return _decode(raw) if len(raw) <= MAX_TEXT_BYTES else None
    if kind == ARRAY:
        return _read_array(cursor)
    message = f"a value has the unknown type {kind}"
    raise GgufError(message)


def _read_array(cursor: _Cursor) -> tuple[int, ...] | None:
    kind, count = cursor.number("I"), cursor.number("Q")
    if kind == STRING:
        # Each takes eight bytes at least, so the head's end bounds a count that lies.
        for _ in range(count):
            cursor.skip(cursor.number("Q"))
        return None
    if kind not in _FORMATS:
        message = f"a list holds values of the unknown type {kind}"
        raise GgufError(message)
    if kind in _INTEGERS and count <= MAX_KEPT_ITEMS:
        return cursor.numbers(_FORMATS[kind], count)
    cursor.skip(count * struct.calcsize(_FORMATS[kind]))
    return None


def _read_values(cursor: _Cursor, count: int) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for _ in range(count):
        name = cursor.name()
        if name in values:
            message = "it gives one key twice"
            raise GgufError(message)
        values[name] = _read_value(cursor, cursor.number("I"))
    return values


def _read_tensor(cursor: _Cursor) -> tuple[Tensor, int]:
    """Return a tensor and the end of its weights, counted from where all weights begin."""
    name = cursor.name()
    dimensions = cursor.number("I")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        message = f"a tensor has {dimensions} dimensions"
        raise GgufError(message)
    elements = math.prod(cursor.numbers("Q", dimensions))
    number, offset = cursor.number("I"), cursor.number("Q")
    if number not in TENSOR_TYPES:
        message = f"a tensor has the unknown type {number}"
        raise GgufError(message)
    kind, block, block_bytes = TENSOR_TYPES[number]
    return Tensor(name, kind, dimensions, elements), offset + -(-elements // block) * block_bytes


def _alignment(values: dict[str, Value]) -> int:
    alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        message = "its alignment is no power of two"
        raise GgufError(message)
    return alignment


def parse_gguf(head: bytes, file_bytes: int) -> GgufHead:
    """Parse the first bytes of a file, at most ``MAX_HEAD_BYTES`` of them.

    Time and memory are bounded by the bytes given, not by the counts and lengths that they claim.

    Args:
        head: the file's first bytes.
        file_bytes: size of the whole file.

    Raises:
        GgufError: it is no GGUF file, or its weights are not all there.
    """
    if head[:4] != b"GGUF":
        message = "it does not begin like one"
        raise GgufError(message)
    cursor = _Cursor(head)
    cursor.skip(4)
    version, tensor_count, value_count = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in VERSIONS:
        message = f"it is of version {version}; known are {', '.join(map(str, VERSIONS))}, little-endian"
        raise GgufError(message)
    if max(tensor_count, value_count) > MAX_ENTRIES:
        message = f"it claims more than {MAX_ENTRIES} keys or tensors"
        raise GgufError(message)
    values = _read_values(cursor, value_count)
    read = [_read_tensor(cursor) for _ in range(tensor_count)]
    if len({tensor.name for tensor, _ in read}) != len(read):
        message = "it has two tensors of one name"
        raise GgufError(message)
    alignment = _alignment(values)
    begin = -(-cursor.at // alignment) * alignment
    if read and begin + max(end for _, end in read) > file_bytes:
        message = "it is cut short: not all weights are there"
        raise GgufError(message)
    return GgufHead(values, tuple(tensor for tensor, _ in read))
