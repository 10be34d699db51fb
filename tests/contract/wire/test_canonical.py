from enum import StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from contracts.wire.canonical import canonical_bytes, plain_canonical_bytes
from contracts.wire.strict_json import decode_json


class Word(StrEnum):
    ONE = "one"


class Number(int):
    def __str__(self) -> str:
        return "many"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", Word.ONE])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.just(Word.ONE), inner),
    max_leaves=30,
)


def outcome(encode: Any, value: Any) -> Any:
    try:
        return encode(value)
    except rfc8785.CanonicalizationError as error:
        return type(error)


@given(VALUES)
def test_every_value_gets_the_librarys_form_or_its_refusal(value: Any) -> None:
    assert outcome(canonical_bytes, value) == outcome(rfc8785.dumps, value)


@pytest.mark.parametrize(
    "value",
    [
        {"\U00010000": 1, "\ue000": 2, "a": 3},
        {"€": 1, "\r": 2, "דּ": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7},
        "".join(map(chr, range(256))),
        [2**53 - 1, -(2**53) + 1, True, False, None, (), {}, [[]]],
        [0.0, -0.0, 1.0, 4.5, 1e16, 1e20, 1e21, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308],
        Number(3),
        [Word.ONE, {Word.ONE: Word.ONE}],
    ],
)
def test_corners_get_the_librarys_form(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), float("inf"), "\udfff", {1: 2}, {"a", "b"}, b"x"])
def test_what_has_no_form_is_refused(value: Any) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical_bytes({"value": [value]})


@given(VALUES)
def test_a_plain_form_is_the_librarys_and_can_be_read(value: Any) -> None:
    plain = plain_canonical_bytes(value)
    if plain is not None:
        assert plain == rfc8785.dumps(value)
        assert plain_canonical_bytes(decode_json(plain, max_bytes=len(plain))) == plain


@pytest.mark.parametrize("value", [2.0**53, -(2.0**53), 1e20, 1e-7, 1e300, float("nan"), float("inf"), "\U00010000"])
def test_what_is_unusual_has_no_plain_form(value: Any) -> None:
    assert plain_canonical_bytes([value]) is None
    assert plain_canonical_bytes({"value": 1.5, "list": [0.5, 2.0, -0.0]}) == b'{"list":[0.5,2,0],"value":1.5}'
