"""Strict JSON: exactly one value in UTF-8, bounded in size, depth and number of values."""

import json
import re
from collections import Counter
from itertools import accumulate
from math import isinf
from typing import Any, NoReturn

from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.errors import ContractError, FieldError

__all__ = [
    "MAX_COMMAS",
    "MAX_CONTAINERS",
    "MAX_DEPTH",
    "MAX_KEYS",
    "decode_json",
    "is_crowded",
]

# ECMAScript's Number::toString, which RFC 8785 follows, writes an exponent from here on.
FIRST_WITH_EXPONENT = 1e21
DIGITS_OF_SAFE = len(str(MAX_SAFE_INTEGER))
# The deepest document of this engine has 6 levels; 32 leaves room and stays far from Python's recursion limit.
MAX_DEPTH = 32
# The widest object of this engine has some 20 keys. Every unknown key is a fault, and a fault takes more memory than a
# key does.
MAX_KEYS = 1000
# An empty list or object costs the parser 1 KB, and a number 200 bytes: refusing 16 MiB of `{},` took 5.7 GB. An
# export's header with 4,096 open executions has 43,000 lists and objects. A record of 4 MiB has room for 350,000
# token times.
MAX_CONTAINERS = 2**17
MAX_COMMAS = 2**20
# Matches everything except brackets outside of strings. The quantifiers are possessive (`++`, `*+`): a group that may
# backtrack costs about 100 bytes for every character of a string, 600 MB for one envelope before parsing starts.
_NO_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?+|[^"\[\]{}]++', re.DOTALL)
_NOT_STRUCTURAL = bytes(set(range(256)) - set(b'"[]{}'))

_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?+|[\[{,]', re.DOTALL)


def _refuse(code: str, message: str) -> NoReturn:
    raise ContractError(code, (FieldError(field="", code=code, message=message),))


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        _refuse("malformed_json", f"an object has {len(pairs)} keys; at most {MAX_KEYS} are allowed")
    result = dict(pairs)
    if len(result) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        repeated = next(name for name, count in counted.items() if count > 1)
        _refuse("malformed_json", f"an object repeats the key {ascii(repeated)[:100]}")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        _refuse("malformed_json", "a number is too large for a 64-bit float")
    # RFC 8785 writes these numbers as integers, which are refused: the canonical form could not be parsed again.
    if MAX_SAFE_INTEGER < abs(value) < FIRST_WITH_EXPONENT:
        _refuse("out_of_range", "a number is whole and larger than 2^53-1, which JSON readers cannot hold exactly")
    return value


def _safe_integer(text: str) -> int:
    # Check the length first: converting a number of a million digits is itself an attack.
    if len(text) < DIGITS_OF_SAFE:
        return int(text)
    if len(text) > DIGITS_OF_SAFE + 1 or abs(int(text)) > MAX_SAFE_INTEGER:
        _refuse("out_of_range", "an integer is larger than 2^53-1, which JSON readers cannot hold exactly")
    return int(text)


def _no_constant(name: str) -> NoReturn:
    _refuse("malformed_json", f"{name} is not JSON; numbers must be finite")


# Created once: creating a decoder takes as long as decoding an event of the runner.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_object, parse_constant=_no_constant, parse_float=_finite, parse_int=_safe_integer
)


def _is_deep(data: bytes) -> bool:
    # A document with this few brackets cannot nest deeper; most documents have no more.
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH


def _depth(data: bytes) -> int:
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in _brackets(data)), default=0)


def _brackets(data: bytes) -> bytes:
    if b"\\" not in data:
        # A pair of adjacent quotes does not change whether the bytes after it are inside a string.
        rest = data.translate(None, _NOT_STRUCTURAL).replace(b'""', b"")
        if b'"' not in rest:
            return rest
    return _NO_BRACKETS.sub(b"", data)


def is_crowded(data: bytes) -> bool:
    """Return whether a document has more lists, objects or values than are allowed."""
    if len(data) <= min(MAX_CONTAINERS, MAX_COMMAS):
        return False
    # Brackets and commas inside strings do not count, so a document with many of them needs the exact count.
    if data.count(b"[") + data.count(b"{") <= MAX_CONTAINERS and data.count(b",") <= MAX_COMMAS:
        return False
    containers = commas = 0
    for found in _STRUCTURE.finditer(data):
        commas += found[0] == b","
        containers += found[0] in {b"[", b"{"}
        if containers > MAX_CONTAINERS or commas > MAX_COMMAS:
            return True
    return False


def decode_json(data: bytes, *, max_bytes: int) -> Any:  # noqa: ANN401 - any JSON value
    """Parse exactly one JSON value in UTF-8.

    Stricter than RFC 8259: no duplicate keys, no NaN or infinity, no integer beyond 2^53-1 (nor a float that RFC 8785
    would write as such an integer), no nesting past ``MAX_DEPTH``, no object of more than ``MAX_KEYS`` keys, no more
    values than ``MAX_CONTAINERS`` and ``MAX_COMMAS`` allow, no byte-order mark, no lone surrogate. The canonical form
    of every accepted document is accepted too.

    Raises:
        ContractError: ``too_large`` before anything is parsed; ``malformed_json`` or ``out_of_range`` later.
    """
    if len(data) > max_bytes:
        _refuse("too_large", f"the document has {len(data)} bytes; at most {max_bytes} are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse("malformed_json", f"the document is not UTF-8 (at byte {error.start})")
    if _is_deep(data):
        fault = FieldError(field="", code="too_deep", message=f"the document nests deeper than {MAX_DEPTH} levels")
        raise ContractError("malformed_json", (fault,))
    if is_crowded(data):
        _refuse("too_large", "the document has too many lists, objects or values")
    try:
        value = _DECODER.decode(text)
        # Searching for one character is ten times faster than for two.
        if "\\" in text and "\\u" in text:
            # UTF-8 contains no surrogates; only an escape sequence can produce one.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        _refuse("malformed_json", f"{error.msg} (line {error.lineno}, column {error.colno})")
    except UnicodeEncodeError:
        _refuse("malformed_json", "a string holds a lone surrogate, which is not Unicode text")
    return value
