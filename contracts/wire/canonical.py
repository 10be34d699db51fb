"""The RFC 8785 (JCS) form of a JSON value.

The library takes 230 us for a record's 500 values, ten times what reading them takes, and every record is brought
into this form when it is made and when it is verified. What documents of ours consist of is written here in a fifth
of that; whatever else there may be is left to the library, whose answer is the only one.
"""

from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

import rfc8785

__all__ = ["MAX_SAFE_INTEGER", "canonical_bytes", "plain_canonical_bytes"]

# Integers beyond this are not exact in the IEEE 754 doubles of RFC 8785 (section 3.2.2.3) and of most readers.
MAX_SAFE_INTEGER = 2**53 - 1


FIRST_OF_TWO_UNITS = "\U00010000"


class _UnusualError(Exception):
    """Something that is left to the library."""


def canonical_bytes(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return a JSON value in RFC 8785 (JCS) form."""
    plain = plain_canonical_bytes(value)
    return rfc8785.dumps(value) if plain is None else plain


def plain_canonical_bytes(value: Any) -> bytes | None:  # noqa: ANN401 - any JSON value
    """Return the RFC 8785 form of a value that has nothing unusual in it, None where it has.

    Unusual are numbers beyond ``MAX_SAFE_INTEGER`` and those with an exponent, characters beyond U+FFFF, and
    whatever has no form at all.
    """
    try:
        text = _write(value)
        # Names are sorted by UTF-16 code units, which is Python's order up to the first character that takes two.
        return text.encode("utf-8") if text.isascii() or max(text) < FIRST_OF_TWO_UNITS else None
    except (_UnusualError, UnicodeEncodeError):
        return None


def _write(value: Any) -> str:  # noqa: ANN401 - any JSON value
    # The type itself: what is derived from one of these may have a text of its own.
    write = _WRITERS.get(type(value))
    if write is None:
        raise _UnusualError
    return write(value)


def _write_integer(value: int) -> str:
    if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        raise _UnusualError
    return str(value)


def _write_float(value: float) -> str:
    if value.is_integer():
        return _write_integer(int(value))
    # Both write the fewest digits that are read as the same number. ECMAScript's Number::toString, which RFC 8785
    # follows, begins to write exponents elsewhere.
    text = repr(value)
    if "e" in text or "n" in text:
        # An exponent; `inf` and `nan`.
        raise _UnusualError
    return text


def _write_list(value: list[Any] | tuple[Any, ...]) -> str:
    if set(map(type, value)) == {int} and min(value) >= -MAX_SAFE_INTEGER and max(value) <= MAX_SAFE_INTEGER:
        # The times of hundreds of tokens.
        return f"[{','.join(map(str, value))}]"
    return f"[{','.join(map(_write, value))}]"


def _write_object(value: dict[Any, Any]) -> str:
    try:
        return "{" + ",".join([f"{encode_basestring(name)}:{_write(value[name])}" for name in sorted(value)]) + "}"
    except TypeError as error:
        raise _UnusualError from error


_WRITERS: dict[type, Callable[[Any], str]] = {
    # Escapes what RFC 8785 (section 3.2.2.2) escapes, and in the same way.
    str: encode_basestring,
    int: _write_integer,
    float: _write_float,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
    list: _write_list,
    tuple: _write_list,
    dict: _write_object,
}
