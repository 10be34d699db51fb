"""The head of a GGUF file as parsed values: typed keys, and the tensors that the file declares. Pure."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["ARRAY", "BOOL", "FORMATS", "INT32", "STRING", "UINT32", "GgufError", "GgufHead", "GgufValue", "Tensor"]

UINT32, INT32, BOOL, STRING, ARRAY = 4, 5, 7, 8, 9
# Types of values as `struct` spells them.
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", UINT32: "I", INT32: "i", 6: "f", BOOL: "?", 10: "Q", 11: "q", 12: "d"}
# The largest lists that are read as numbers have one for each layer (LLAMA_MAX_LAYERS is 512).
MAX_LISTED = 512
# Names and descriptions; longer ones are cut.
MAX_TEXT_BYTES = 4096


class GgufError(Exception):
    """The file is no sound model; the message says why, as a sentence about "it"."""


@dataclass(frozen=True, slots=True)
class GgufValue:
    """The value of one key, still as bytes: nothing is unpacked that nobody asks for."""

    kind: int
    """Type of the value; of a list: `ARRAY`."""
    item_kind: int
    """Type of the items of a list; otherwise the same as `kind`."""
    count: int
    """Number of items of a list; otherwise 1."""
    data: memoryview
    """The bytes of the value, without its length."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as the file declares it."""

    name: str
    type: str
    shape: tuple[int, ...]
    """Numbers of elements, the row first."""
    offset: int
    """Distance in bytes from where all weights begin."""
    size_bytes: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def row(self) -> int:
        """Number of elements of a row."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True, slots=True)
class GgufHead:
    """What a file declares."""

    values: dict[str, GgufValue]
    tensors: tuple[Tensor, ...]

    def text(self, key: str) -> str | None:
        """Return the beginning of a text, with replacement characters for what is not UTF-8; None: there is none."""
        value = self.values.get(key)
        return None if value is None or value.kind != STRING else str(value.data[:MAX_TEXT_BYTES], "utf-8", "replace")

    def number(self, key: str) -> int | None:
        """Return an unsigned 32-bit number; None: there is no such key.

        Raises:
            GgufError: the value is of another type; llama.cpp refuses it.
        """
        return self._scalar(key, UINT32)

    def flag(self, key: str) -> bool | None:
        """Return a boolean; None: there is no such key.

        Raises:
            GgufError: the value is of another type; llama.cpp refuses it.
        """
        found = self._scalar(key, BOOL)
        return None if found is None else bool(found)

    def numbers(self, key: str) -> tuple[int, ...] | None:
        """Return a list of 32-bit numbers or booleans; None: there is no such key, or it is no list.

        Raises:
            GgufError: the list has items of another type, or too many; llama.cpp refuses it.
        """
        value = self.values.get(key)
        if value is None or value.kind != ARRAY:
            return None
        if value.item_kind not in {UINT32, INT32, BOOL} or value.count > MAX_LISTED:
            message = (
                f"its key {key} is a list that llama.cpp does not read: more than {MAX_LISTED} items, or no numbers"
            )
            raise GgufError(message)
        return tuple(map(int, struct.unpack(f"<{value.count}{FORMATS[value.item_kind]}", value.data)))

    def strings(self, key: str) -> Iterator[bytes]:
        """Yield the items of a list of texts; none if there is no such list."""
        value = self.values.get(key)
        if value is None or (value.kind, value.item_kind) != (ARRAY, STRING):
            return
        data, at, read_size = value.data, 0, struct.Struct("<Q").unpack_from
        for _ in range(value.count):
            begin = at + 8
            at = begin + read_size(data, at)[0]
            yield bytes(data[begin:at])

    def _scalar(self, key: str, kind: int) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        if value.kind != kind:
            message = f"its key {key} is of a type that llama.cpp does not read there"
            raise GgufError(message)
        number: int = struct.unpack("<" + FORMATS[kind], value.data)[0]
        return number
