"""The RFC 8785 (JCS) form of a JSON value.

The library takes 230 us for a record's 500 values, ten times what reading them takes, and every record is brought
into this form when it is made and when it is verified. What documents of ours consist of is written here in less than
half of that; whatever else there may be is left to the library, whose answer is the only one.
"""

from json import JSONEncoder
from typing import Any

import rfc8785

__all__ = ["MAX_SAFE_INTEGER", "canonical_bytes"]

# Integers beyond this are not exact in the IEEE 754 doubles of RFC 8785 (section 3.2.2.3) and of most readers.
MAX_SAFE_INTEGER = 2**53 - 1

# Escapes what RFC 8785 (section 3.2.2.2) escapes, and in the same way.
_text = JSONEncoder(ensure_ascii=False).encode


class _UnusualError(Exception):
    """Something that is left to the library."""


def canonical_bytes(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return a JSON value in RFC 8785 (JCS) form."""
    try:
        return _write(value).encode("utf-8")
    except (_UnusualError, UnicodeEncodeError):
        return rfc8785.dumps(value)


def _write(value: Any) -> str:  # noqa: ANN401 - any JSON value
    # The type itself: what is derived from one of these may have a text of its own.
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return str(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is list or kind is tuple:
        return f"[{','.join([_write(each) for each in value])}]"
    if kind is dict:
        return _write_object(value)
    if kind is float:
        return rfc8785.dumps(value).decode("ascii")
    raise _UnusualError


def _write_object(value: dict[Any, Any]) -> str:
    try:
        is_plain = "".join(value).isascii()
    except TypeError as error:
        raise _UnusualError from error
    if not is_plain:
        # Names are sorted by UTF-16 code units, which is Python's order for those of ASCII, and not for all others.
        raise _UnusualError
    return "{" + ",".join([f"{_text(name)}:{_write(value[name])}" for name in sorted(value)]) + "}"
