"""Attacks by documents that could mean two things, or nothing."""

import base64
from collections.abc import Callable
from typing import Any

from contracts.ledger.bundle import Bundle
from contracts.wire.canonical import canonical_bytes
from contracts.wire.envelope import Envelope
from tests.attacks.forging import Attempt, attempt_on, lie, replaced_in, respelled, sealed
from tests.attacks.genuine import Genuine

__all__ = [
    "another_payload_type",
    "extra_field",
    "extra_field_in_the_payload",
    "extra_field_in_the_statement_of_the_start",
    "float_in_the_payload",
    "key_order_in_the_payload",
    "large_record",
    "lone_surrogate",
    "missing_field",
    "negative_zero_in_the_payload",
    "nested_deeply",
    "not_a_number",
    "number_beyond_two_to_53",
    "number_beyond_two_to_53_in_the_payload",
    "padded",
    "proof_with_leading_zero",
    "repeated_key",
    "repeated_key_in_the_payload",
    "space_in_the_payload",
    "trailing_bits_in_the_signature",
]


def repeated_key(genuine: Genuine) -> Attempt:
    return replaced_in(genuine, "{", '{"schema_version":"weos.bundle/1",')


def not_a_number(genuine: Genuine) -> Attempt:
    return replaced_in(genuine, '"weos.bundle/1"', "NaN")


def lone_surrogate(genuine: Genuine) -> Attempt:
    return replaced_in(genuine, '"weos.bundle/1"', '"\\ud800"')


def trailing_bits_in_the_signature(genuine: Genuine) -> Attempt:
    document = genuine.document
    signature = document["record"]["signatures"][0]["sig"]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = digits[digits.index(signature[85]) + 1]
    document["record"]["signatures"][0]["sig"] = signature[:85] + last + "=="
    assert base64.b64decode(signature, validate=True) == base64.b64decode(signature[:85] + last + "==", validate=True)
    return attempt_on(genuine, document)


def space_in_the_payload(genuine: Genuine) -> Attempt:
    return respelled(genuine, b'"seq":', b'"seq": ')


def key_order_in_the_payload(genuine: Genuine) -> Attempt:
    statement = b'"_type":"https://in-toto.io/Statement/v1",'
    document = genuine.document
    payload = base64.b64decode(document["record"]["payload"])
    moved = payload.replace(statement, b"")[:-1] + b"," + statement[:-1] + b"}"
    document["record"] = sealed(moved, genuine.signer)
    return attempt_on(genuine, document)


def float_in_the_payload(genuine: Genuine) -> Attempt:
    return respelled(genuine, b'"temperature":0', b'"temperature":0.0')


def negative_zero_in_the_payload(genuine: Genuine) -> Attempt:
    return respelled(genuine, b'"temperature":0', b'"temperature":-0.0')


def repeated_key_in_the_payload(genuine: Genuine) -> Attempt:
    return respelled(genuine, b'"seq":2', b'"seq":2,"seq":2')


def proof_with_leading_zero(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["proofs"]["final"] = document["proofs"]["final"].replace("index ", "index 0")
    return attempt_on(genuine, document)


def number_beyond_two_to_53(genuine: Genuine) -> Attempt:
    return replaced_in(genuine, '"weos.bundle/1"', "9007199254740993")


def number_beyond_two_to_53_in_the_payload(genuine: Genuine) -> Attempt:
    return respelled(genuine, b'"seq":2', b'"seq":9007199254740993')


def missing_field(genuine: Genuine) -> Attempt:
    document = genuine.document
    del document["started"]
    return attempt_on(genuine, document)


def extra_field(genuine: Genuine) -> Attempt:
    return attempt_on(genuine, genuine.document | {"trust": {"keys": []}})


def extra_field_in_the_payload(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate.update(verified=True))


def extra_field_in_the_statement_of_the_start(genuine: Genuine) -> Attempt:
    return _signed_started(genuine, lambda predicate: predicate.update(verified=True))


def _signed_started(genuine: Genuine, change: Callable[[dict[str, Any]], object]) -> Attempt:
    document, payload = genuine.document, genuine.payload("started")
    change(payload["predicate"])
    document["started"] = sealed(canonical_bytes(payload), genuine.signer)
    return attempt_on(genuine, document)


def another_payload_type(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["payloadType"] = "application/json"
    return attempt_on(genuine, document)


def padded(genuine: Genuine) -> Attempt:
    return Attempt(genuine.data + b" " * (Bundle.MAX_BYTES + 1 - len(genuine.data)), genuine.trust)


def large_record(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["payload"] = "A" * (Envelope.MAX_BYTES + 4)
    return attempt_on(genuine, document)


def nested_deeply(genuine: Genuine) -> Attempt:
    return replaced_in(genuine, '"weos.bundle/1"', "[" * 40 + "]" * 40)
