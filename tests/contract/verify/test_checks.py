"""Checks and their order; and signed payloads, which a fast path reads with the same result as strict decoding."""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.execution.metrics_record import Statement
from contracts.execution.started_record import StartedStatement
from contracts.releases.statements import (
    ComparisonStatement,
    KeyringStatement,
    ManifestStatement,
    RevocationStatement,
    ValidationStatement,
)
from contracts.verify.checks import Check, CheckFailed, Checks, Verified, code_of, read_payload, run_checks
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract
from contracts.wire.envelope import Envelope, decode_base64
from contracts.wire.errors import ContractError
from contracts.wire.strict_json import MAX_CONTAINERS, MAX_DEPTH, MAX_KEYS, decode_json
from tests.factories import make_envelope, make_signer

HELD, FAILED = Check("size", "OK", "3 bytes"), Check("form", "MALFORMED", "not JSON")


def fail(checks: Checks, code: str) -> str:
    checks.begin("form")
    raise CheckFailed(code, "not JSON")


class TestChecks:
    def test_the_first_that_fails_is_the_last_that_is_made(self) -> None:
        with Checks() as checks:
            checks.begin("size")
            checks.hold("3 bytes")
            fail(checks, "MALFORMED")
            checks.begin("payload")
        assert checks.made == (HELD, FAILED)
        assert Verified(checks.made, None).verdict == "MALFORMED"

    def test_an_error_in_our_code_is_not_a_result(self) -> None:
        checks = Checks()
        checks.begin("size")
        with pytest.raises(ZeroDivisionError), checks:
            checks.hold(str(1 // 0))
        assert checks.made == ()

    def test_a_verification_returns_its_document_only_if_every_check_holds(self) -> None:
        assert run_checks(lambda _: "document") == Verified((), "document")
        assert run_checks(fail, "MALFORMED") == Verified((FAILED,), None)

    def test_the_checks_of_another_verification_are_taken_with_their_names(self) -> None:
        checks = Checks()
        assert checks.take(Verified((HELD,), "document")) == "document"
        with checks, checks.prefixed("record: "):
            checks.take(run_checks(fail, "MALFORMED"))
        checks.begin("nonce")
        checks.hold("none")
        assert [each.name for each in checks.made] == ["size", "record: form", "nonce"]

    def test_another_verification_can_be_one_check(self) -> None:
        with Checks() as checks:
            checks.begin("manifest")
            run_checks(fail, "TOO_LARGE").require()
        assert checks.made == (Check("manifest", "TOO_LARGE", "form: not JSON"),)
        assert Verified((HELD,), "document").require() == "document"


SIGNED: tuple[type[Contract], ...] = (
    Statement,
    StartedStatement,
    ManifestStatement,
    KeyringStatement,
    RevocationStatement,
    ValidationStatement,
    ComparisonStatement,
)
PAYLOAD = decode_base64(Envelope.parse(make_envelope(make_signer())).payload)


def read_the_long_way(payload: bytes) -> Any:
    """Decode strictly, then hold the document's form, written by the library, against the payload."""
    try:
        value = decode_json(payload, max_bytes=Statement.MAX_BYTES)
        statement = Statement.parse(payload)
    except ContractError as error:
        return code_of(error), str(error)
    if rfc8785.dumps(value) != payload:
        return "MALFORMED", "the payload is not in RFC 8785 form"
    if rfc8785.dumps(statement.model_dump(mode="json", by_alias=True)) != payload:
        return "SCHEMA_VIOLATION", "the payload leaves out a field, or has one under another name"
    return statement


def read(payload: bytes) -> Any:
    try:
        return read_payload(Statement, payload)
    except CheckFailed as failure:
        return failure.code, str(failure)


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(PAYLOAD)
    change(document["predicate"])
    return canonical_bytes(document)


def test_a_genuine_payload_is_read() -> None:
    assert read(PAYLOAD) == read_the_long_way(PAYLOAD) == Statement.model_validate_json(PAYLOAD)


SPLICES = st.sampled_from(
    [
        *(b" ", b"\n", b"0", b".0", b"e0", b"-", b",", b":", b'"', b"\\", b"\\u0041", b"\\u00e9", b"\\ud800", b"null"),
        *(b"9007199254740992", b"100000000000000000000", b"1e-7", b"true", b"NaN", b"[", b"}", b"[]", b"{}"),
        *(b'"seq":1,', b'"manifest":null,', b'"other":1,', b'"_type":"x",', "\N{EURO SIGN}".encode(), b"\xff", b"\0"),
    ]
)


@given(st.integers(0, len(PAYLOAD)), st.integers(0, 3), SPLICES)
def test_a_changed_payload_gives_the_same_result_on_both_paths(at: int, left_out: int, put_in: bytes) -> None:
    payload = PAYLOAD[:at] + put_in + PAYLOAD[at + left_out :]
    assert read(payload) == read_the_long_way(payload)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b'"seq":1', b'"seq":1,"seq":1', "MALFORMED"),
        (b'"seq":1', b'"seq": 1', "MALFORMED"),
        (b'"manifest":null,', b"", "SCHEMA_VIOLATION"),
        (b'"_type":', b'"type_":', "MALFORMED"),
        (b'"max_watts":25', b'"max_watts":25.0', "MALFORMED"),
        (b'"max_watts":25', b'"max_watts":9007199254740992', "OUT_OF_RANGE"),
        (b'"max_watts":25', b'"max_watts":100000000000000000000', "OUT_OF_RANGE"),
        (b'"max_watts":25', b'"max_watts":1e-7', None),
        (b'"max_watts":25', b'"max_watts":1e+21', None),
        (b'"stop":[]', b'"stop":["\xe2\x82\xac","\xf0\x9f\x98\x80"]', None),
        (b'"stop":[]', b'"stop":["\\n"]', None),
        (b'"stop":[]', b'"stop":["\\u000a"]', "MALFORMED"),
        (b'"stop":[]', b'"stop":["\\ud800"]', "MALFORMED"),
        (b'"stop":[]', b'"stop":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "TOO_LARGE"),
        (b'"stop":[]', b'"stop":[' + b"[]," * MAX_CONTAINERS + b"[]]", "TOO_LARGE"),
    ],
)
def test_every_other_spelling_is_refused(old: bytes, new: bytes, code: str | None) -> None:
    assert PAYLOAD.count(old) == 1
    found = read(PAYLOAD.replace(old, new))
    assert found == read_the_long_way(PAYLOAD.replace(old, new))
    assert (found[0] if isinstance(found, tuple) else None) == code


@pytest.mark.parametrize("number", [MAX_KEYS - 1, MAX_KEYS, MAX_KEYS + 1])
def test_the_fast_path_allows_as_many_keys_as_strict_decoding(number: int) -> None:
    def add_policies(record: dict[str, Any]) -> None:
        record["plan"]["policies"] = {f"{each:05}": "sha256:" + "0" * 64 for each in range(number)}

    payload = changed(add_policies)
    assert read(payload) == read_the_long_way(payload)
    assert isinstance(read(payload), Statement) == (number <= MAX_KEYS)


def test_a_payload_beyond_its_kinds_size_is_refused_before_it_is_parsed() -> None:
    payload = changed(lambda record: record.update(reason={"code": "a", "message": "x" * Statement.MAX_BYTES}))
    assert read(payload)[0] == "TOO_LARGE"


class Unparsed(Contract):
    """A document that nobody may begin to parse."""

    @classmethod
    def model_validate_json(cls, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'"' + b"x" * Unparsed.MAX_BYTES + b'"', "TOO_LARGE"),
        (b"[" + b"{}," * MAX_CONTAINERS + b"{}]", "TOO_LARGE"),
        (json.dumps(dict.fromkeys(range(MAX_KEYS + 1))).encode(), "MALFORMED"),
    ],
)
def test_a_payload_that_is_costly_to_refuse_is_not_parsed(payload: bytes, code: str) -> None:
    with pytest.raises(CheckFailed) as refused:
        read_payload(Unparsed, payload)
    assert refused.value.code == code


def depth_of(schema: dict[str, Any], definitions: dict[str, Any], within: tuple[str, ...] = ()) -> int:
    """How deep a document of this schema nests; an endless loop of references fails."""
    below = [*schema.get("properties", {}).values(), *schema.get("prefixItems", ())]
    below += [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    depth = max((1 + depth_of(each, definitions, within) for each in below), default=0)
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        assert name not in within, f"{name} holds itself"
        depth = max(depth, depth_of(definitions[name], definitions, (*within, name)))
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    return max([depth, *(depth_of(each, definitions, within) for each in choices)])


@pytest.mark.parametrize("kind", SIGNED)
def test_no_signed_document_nests_deeper_than_is_read(kind: type[Contract]) -> None:
    # The short way does not look how deep a payload nests: a document that there is cannot be too deep.
    schema = kind.model_json_schema()
    assert 2 <= depth_of(schema, schema.get("$defs", {})) < MAX_DEPTH // 2


def decode_and_encode_again(text: str) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode("ascii") == text else None


@given(
    st.binary(max_size=50).map(lambda data: base64.b64encode(data).decode("ascii")),
    st.integers(0, 60),
    st.integers(0, 4),
    st.text("ABz9+/=-_ \n\u00e9", max_size=4),
)
@example("AA==", 1, 1, "B")
@example("AAA=", 2, 1, "B")
def test_base64_has_one_spelling(text: str, at: int, left_out: int, put_in: str) -> None:
    for spelled in (text, text[:at] + put_in + text[at + left_out :]):
        try:
            found = decode_base64(spelled)
        except ContractError:
            found = None
        assert found == decode_and_encode_again(spelled)
