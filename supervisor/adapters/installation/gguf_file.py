"""The head of a GGUF file, parsed strictly and within bounds: a file of unknown origin is hostile input.

Layout (ggml/docs/gguf.md): magic, version, number of tensors, number of keys; the keys with typed values; each tensor's
name, shape, type and place; then, aligned, the weights, which are not read here. What is refused is what llama.cpp
refuses (ggml/src/gguf.cpp), and counts that no model has.
"""

import math
import struct

from supervisor.domain.models.gguf_head import ARRAY, FORMATS, STRING, UINT32, GgufError, GgufHead, GgufValue, Tensor
from supervisor.domain.models.gguf_types import TENSOR_TYPES

__all__ = ["MAX_HEAD_BYTES", "parse_gguf"]

# A vocabulary of 256,000 tokens with its merges takes about 20 MiB.
MAX_HEAD_BYTES = 67_108_864
# The largest published models have some 2,000 tensors and 100 keys.
MAX_ENTRIES = 65_536
# The largest published vocabulary has 262,144 tokens, and 514,906 merges.
MAX_TEXTS = 1_048_576
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_TENSOR_NAME_BYTES = 63  # GGML_MAX_NAME, without the closing zero
MAX_KEY_BYTES = 65_535  # the format's own limit
MAX_ELEMENTS = 2**63 - 1
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
SIZE = struct.Struct("<Q")


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.at = 0
        self.texts = 0

    def take(self, size: int) -> memoryview:
        """Advance by a number of bytes and return them."""
        begin, end = self.at, self.at + size
        if end > len(self._data):
            message = f"its head ends early, or has more than {MAX_HEAD_BYTES} bytes"
            raise GgufError(message)
        self.at = end
        return self._data[begin:end]

    def number(self, form: str) -> int:
        layout = "<" + form
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def text(self) -> memoryview:
        """Return the bytes of a text."""
        return self.take(self.number("Q"))

    def texts_of_list(self, count: int) -> memoryview:
        """Return the bytes of a number of texts, each with its length before it."""
        self.texts += count
        if self.texts > MAX_TEXTS:
            message = f"its lists claim more than {MAX_TEXTS} texts"
            raise GgufError(message)
        begin, end = self.at, len(self._data)
        data, at, read_size = self._data, begin, SIZE.unpack_from
        for _ in range(count):
            if at + 8 > end:
                break
            at += 8 + read_size(data, at)[0]
        else:
            return self.take(at - begin)
        return self.take(end)  # says that the head ends early

    def name(self, what: str, limit: int) -> str:
        """Return a name, which must not be empty.

        Raises:
            GgufError: it is empty, too long, or no UTF-8.
        """
        raw = self.text()
        if not raw:
            message = f"a {what} has no name"
            raise GgufError(message)
        if len(raw) > limit:
            message = f"the name of a {what} has more than {limit} bytes"
            raise GgufError(message)
        try:
            name = str(raw, "utf-8")
        except UnicodeDecodeError as error:
            message = f"the name of a {what} is not UTF-8"
            raise GgufError(message) from error
        if "\0" in name:
            message = f"the name of a {what} holds a zero byte"
            raise GgufError(message)
        return name


def _read_value(cursor: _Cursor) -> GgufValue:
    kind = cursor.number("I")
    if kind in FORMATS:
        return GgufValue(kind, kind, 1, cursor.take(struct.calcsize(FORMATS[kind])))
    if kind == STRING:
        return GgufValue(kind, kind, 1, cursor.text())
    if kind != ARRAY:
        message = f"a value has the unknown type {kind}"
        raise GgufError(message)
    item_kind, count = cursor.number("I"), cursor.number("Q")
    if item_kind == STRING:
        return GgufValue(kind, item_kind, count, cursor.texts_of_list(count))
    if item_kind not in FORMATS:
        message = f"a list holds values of the unknown type {item_kind}"
        raise GgufError(message)
    return GgufValue(kind, item_kind, count, cursor.take(count * struct.calcsize(FORMATS[item_kind])))


def _read_values(cursor: _Cursor, count: int) -> dict[str, GgufValue]:
    values: dict[str, GgufValue] = {}
    for _ in range(count):
        name = cursor.name("key", MAX_KEY_BYTES)
        if name in values:
            message = "it gives one key twice"
            raise GgufError(message)
        values[name] = _read_value(cursor)
    return values


def _read_shape(cursor: _Cursor, name: str) -> tuple[int, ...]:
    dimensions = cursor.number("I")
    if dimensions > MAX_DIMENSIONS:
        message = f"the tensor {name!a} has {dimensions} dimensions"
        raise GgufError(message)
    shape: tuple[int, ...] = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions))
    if 0 in shape:
        message = f"the tensor {name!a} has no weights: a dimension of it is 0"
        raise GgufError(message)
    if math.prod(shape) > MAX_ELEMENTS:
        message = f"the tensor {name!a} claims more weights than can be counted"
        raise GgufError(message)
    return shape


def _read_tensor(cursor: _Cursor) -> Tensor:
    name = cursor.name("tensor", MAX_TENSOR_NAME_BYTES)
    shape = _read_shape(cursor, name)
    number, offset = cursor.number("I"), cursor.number("Q")
    if number not in TENSOR_TYPES:
        message = f"the tensor {name!a} has the type {number}, which llama.cpp does not read"
        raise GgufError(message)
    kind, block, block_bytes = TENSOR_TYPES[number]
    if (shape or (1,))[0] % block:
        message = f"a row of the tensor {name!a} has {shape[0]} weights, which blocks of {block} ({kind}) do not divide"
        raise GgufError(message)
    return Tensor(name, kind, shape, offset, math.prod(shape) // block * block_bytes)


def _alignment(values: dict[str, GgufValue]) -> int:
    value = values.get("general.alignment")
    if value is None:
        return DEFAULT_ALIGNMENT
    alignment = int.from_bytes(value.data, "little") if value.kind == UINT32 else 0
    if alignment < 1 or alignment & (alignment - 1):
        message = "its alignment is no power of two"
        raise GgufError(message)
    return alignment


def _check_places(tensors: list[Tensor], alignment: int, begin: int, file_bytes: int) -> None:
    """Hold the places of the tensors against what llama.cpp demands: each begins where the one before it ends."""
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            if tensor.offset % alignment:
                why = f"begins at {tensor.offset}, which is no multiple of the alignment {alignment}"
            elif tensor.offset < expected:
                why = "overlaps the one before it"
            else:
                why = "leaves a gap after the one before it"
            message = f"the tensor {tensor.name!a} {why}"
            raise GgufError(message)
        if begin + tensor.offset + tensor.size_bytes > file_bytes:
            message = "it is cut short: not all weights are there; get the whole file"
            raise GgufError(message)
        expected += -(-tensor.size_bytes // alignment) * alignment


def _read_counts(cursor: _Cursor) -> tuple[int, int]:
    version, tensor_count, value_count = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version and not version & 0xFFFF:
        message = "it is big-endian; convert the model for little-endian machines"
        raise GgufError(message)
    if version not in VERSIONS:
        hint = "convert the model again" if version < min(VERSIONS) else "it is newer than this engine"
        message = f"it is of version {version}; known are {', '.join(map(str, VERSIONS))}: {hint}"
        raise GgufError(message)
    if max(tensor_count, value_count) > MAX_ENTRIES:
        message = f"it claims more than {MAX_ENTRIES} keys or tensors"
        raise GgufError(message)
    return tensor_count, value_count


def parse_gguf(head: bytes, file_bytes: int) -> GgufHead:
    """Parse the first bytes of a file, at most ``MAX_HEAD_BYTES`` of them.

    Time and memory are bounded by the bytes given, not by the counts and lengths that they claim.

    Args:
        head: the file's first bytes.
        file_bytes: size of the whole file.

    Raises:
        GgufError: it is no GGUF file that llama.cpp reads, or its weights are not all there.
    """
    if head[:4] != b"GGUF":
        message = (
            "it does not begin like one; convert a model of another format with convert_hf_to_gguf.py of llama.cpp"
        )
        raise GgufError(message)
    cursor = _Cursor(head)
    cursor.take(4)
    tensor_count, value_count = _read_counts(cursor)
    values = _read_values(cursor, value_count)
    tensors = [_read_tensor(cursor) for _ in range(tensor_count)]
    if len({tensor.name for tensor in tensors}) != len(tensors):
        message = "it has two tensors of one name"
        raise GgufError(message)
    alignment = _alignment(values)
    _check_places(tensors, alignment, -(-cursor.at // alignment) * alignment, file_bytes)
    return GgufHead(values, tuple(tensors))
