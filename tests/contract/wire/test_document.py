import json
import tracemalloc
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract, Many
from contracts.wire.errors import ContractError
from contracts.wire.strict_json import MAX_COMMAS, MAX_CONTAINERS, MAX_DEPTH, MAX_KEYS, decode_json

SAFE = 2**53 - 1
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not SAFE < abs(number) < 1e21)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


class Pair(Contract):
    left: int
    right: dict[str, int]


def refusal(data: bytes, max_bytes: int = 1000) -> str:
    with pytest.raises(ContractError) as caught:
        decode_json(data, max_bytes=max_bytes)
    return caught.value.code


@given(JSON_VALUES)
def test_every_json_value_is_read_as_it_is(value: object) -> None:
    data = json.dumps(value).encode()
    assert decode_json(data, max_bytes=len(data)) == value


@given(st.binary(max_size=200))
def test_bytes_are_parsed_or_refused_never_worse(data: bytes) -> None:
    try:
        decode_json(data, max_bytes=100)
    except ContractError as error:
        assert error.code in {"too_large", "malformed_json", "out_of_range"}  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" * 100 + b"]" * 100, "malformed_json"),
        (b'{"a":1,"a":2}', "malformed_json"),
        (b'{"a":{"b":1,"\\u0062":2}}', "malformed_json"),
        (b"NaN", "malformed_json"),
        (b"[-Infinity]", "malformed_json"),
        (b"1e999", "malformed_json"),
        (b"-1e999", "malformed_json"),
        (b"9007199254740992", "out_of_range"),
        (b"-9007199254740992", "out_of_range"),
        (b"1" * 900, "out_of_range"),
        (b"9007199254740992e3", "out_of_range"),
        (b"-9007199254740992.0", "out_of_range"),
        (b"9.99e20", "out_of_range"),
        (b"\xff", "malformed_json"),
        (b"\xef\xbb\xbf{}", "malformed_json"),
        (b'"\\udc00"', "malformed_json"),
        (b'{"\\ud800":1}', "malformed_json"),
        (b"", "malformed_json"),
        (b"{} {}", "malformed_json"),
        (b"'a'", "malformed_json"),
        (b" " * 1001, "too_large"),
    ],
)
def test_what_means_no_single_thing_is_refused(data: bytes, code: str) -> None:
    assert refusal(data) == code


def test_an_object_of_many_keys_is_refused_without_comparing_each_with_each() -> None:
    # A quadratic look for the repeated key took minutes for a body of 1 MiB, with the whole API waiting.
    names = [f'"{number}":1' for number in range(100_000)]
    assert refusal(("{" + ",".join([*names, names[0]]) + "}").encode(), 2_000_000) == "malformed_json"


@pytest.mark.parametrize("unit", [b"a", b"\\n", b"\\u00e9", "\N{EURO SIGN}".encode()])
def test_a_long_string_costs_a_small_multiple_of_its_size(unit: bytes) -> None:
    # Finding where strings end took 100 bytes a character: 100 MB for a request of 1 MiB, and that before any check.
    data = b'"' + unit * (1_000_000 // len(unit)) + b'"'
    tracemalloc.start()
    try:
        decode_json(data, max_bytes=len(data))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20 * len(data)


def nests_too_deep(text: str) -> bool:
    """Walk through a document, well-formed or not, a character at a time."""
    depth, in_string, characters = 0, False, iter(text)
    for character in characters:
        if in_string and character == "\\":
            next(characters, None)
        elif character == '"':
            in_string = not in_string
        elif not in_string and character in "[]{}":
            depth += 1 if character in "[{" else -1
            if depth > MAX_DEPTH:
                return True
    return False


PIECES = st.sampled_from(
    ['"', '""', "[", "]", "{", "}", "[{", "}]", "\\", '\\"', "\\\\", "a", "\N{EURO SIGN}", "[" * 30]
)


@given(st.lists(PIECES | st.sampled_from(['"', "[" * 30]), max_size=12).map("".join))
def test_depth_is_judged_as_by_walking_through(text: str) -> None:
    data = text.encode()
    try:
        decode_json(data, max_bytes=len(data))
        is_deep = False
    except ContractError as error:
        is_deep = error.errors[0].code == "too_deep"
    assert is_deep == nests_too_deep(text)


@given(st.integers(-(10**18), 10**18) | st.integers(SAFE - 3, SAFE + 3) | st.integers(-SAFE - 3, -SAFE + 3))
def test_an_integer_is_read_where_every_reader_holds_it_exactly(number: int) -> None:
    data = str(number).encode()
    if abs(number) > SAFE:
        assert refusal(data) == "out_of_range"
    else:
        assert decode_json(data, max_bytes=len(data)) == number


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    text = "[" * 500 + '\\"' + "]" * 3
    assert decode_json(json.dumps([text]).encode(), max_bytes=2000) == [text]


def test_nesting_is_allowed_up_to_its_bound() -> None:
    assert decode_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, max_bytes=1000)
    assert refusal(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)) == "malformed_json"


def test_every_faulty_field_is_named_by_pointer() -> None:
    with pytest.raises(ContractError) as caught:
        Pair.parse(b'{"left": "secret", "right": {"a/b~c": true}, "more": 1}')
    assert {error.field for error in caught.value.errors} == {"/left", "/right/a~1b~0c", "/more"}
    assert "secret" not in str(caught.value)


def test_a_flood_of_faults_is_cut() -> None:
    data = json.dumps({"left": 1, "right": {str(n): "x" for n in range(500)}}).encode()
    with pytest.raises(ContractError) as caught:
        Pair.parse(data)
    assert len(caught.value.errors) == 20


def test_a_flood_of_keys_is_refused_as_one_fault() -> None:
    data = json.dumps({"left": 1, "right": {str(n): 1 for n in range(MAX_KEYS + 1)}}).encode()
    with pytest.raises(ContractError) as caught:
        Pair.parse(data)
    assert caught.value.code == "malformed_json"
    assert Pair.parse(json.dumps({"left": 1, "right": {str(n): 1 for n in range(MAX_KEYS)}}).encode())


def test_the_message_of_a_refusal_is_safe_to_print() -> None:
    with pytest.raises(ContractError) as caught:
        Pair.parse(b'{"left": 1, "right": {}, "\\u001b[2J\\u202e\\r\\n": 1, "' + b"x" * 5000 + b'": 1}')
    assert {error.field for error in caught.value.errors} == {"/\x1b[2J\u202e\r\n", "/" + "x" * 5000}
    assert "\\x1b[2J\\u202e\\r\\n" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_equal_documents_have_one_canonical_form() -> None:
    one = Pair.parse(b'{"right": {"b": 2, "a": 1}, "left": 1}')
    other = Pair.parse(b'{"left":1,"right":{"a":1,"b":2}}')
    assert one.canonical() == other.canonical() == b'{"left":1,"right":{"a":1,"b":2}}'
    assert one.canonical_digest() == other.canonical_digest()


def test_numbers_are_canonical_whatever_their_spelling() -> None:
    assert canonical_bytes([25.0, 1e21, 0.1]) == b"[25,1e+21,0.1]"


@pytest.mark.parametrize(
    "document",
    [
        b"[" + b"[]," * MAX_CONTAINERS + b"0]",
        b"[" + b"{}," * MAX_CONTAINERS + b"0]",
        b"[" + b"0," * (MAX_COMMAS + 1) + b"0]",
    ],
)
def test_more_values_than_any_document_has_are_refused_before_they_are_parsed(document: bytes) -> None:
    with pytest.raises(ContractError) as refused:
        decode_json(document, max_bytes=len(document))
    assert refused.value.code == "too_large"


def test_what_stands_in_a_string_is_no_value() -> None:
    text = "[{," * (MAX_COMMAS + 1)
    assert decode_json(f'["{text}"]'.encode(), max_bytes=10 * MAX_COMMAS) == [text]


class Talk(Contract):
    """A list of lists, neither of them empty."""

    turns: Annotated[Many[Annotated[Many[int], Field(min_length=1)]], Field(min_length=1)]
    """The turns."""


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        (b'{"turns": []}', [("/turns", "too_short")]),
        (b'{"turns": [[]]}', [("/turns/0", "too_short")]),
        (b'{"turns": [["x"]]}', [("/turns/0/0", "int_type")]),
        (b'{"turns": 1}', [("/turns", "tuple_type")]),
    ],
)
def test_a_fault_in_a_list_does_not_make_the_list_too_short(document: bytes, faults: list[tuple[str, str]]) -> None:
    with pytest.raises(ContractError) as caught:
        Talk.parse(document)
    assert [(fault.field, fault.code) for fault in caught.value.errors] == faults
