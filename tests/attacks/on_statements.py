"""Attacks on what is signed: the record and the statement of its start."""

from typing import Any

from contracts.verify.trust import TrustedKey
from contracts.wire.canonical import canonical_bytes
from tests.attacks.forging import WEAK_KEY, Attempt, attempt_on, flip_base64, lie, logged, sealed, with_trust
from tests.attacks.genuine import Genuine

__all__ = [
    "another_version",
    "answer_to_another_challenge",
    "bit_flip_in_the_record",
    "bit_flip_in_the_statement_of_the_start",
    "forged_plan",
    "forged_ratio",
    "no_signature",
    "small_order_key_of_a_development_version",
    "start_about_something_else",
    "start_at_another_time",
    "start_of_another_execution",
    "start_of_another_version",
    "start_with_another_manifest",
    "start_with_another_number",
    "start_with_another_plan",
    "start_without_the_nonce",
    "swapped_signatures",
    "swapped_statements",
    "two_signatures",
]


def bit_flip_in_the_record(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["payload"] = flip_base64(document["record"]["payload"], 400)
    return attempt_on(genuine, document)


def bit_flip_in_the_statement_of_the_start(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["started"]["payload"] = flip_base64(document["started"]["payload"], 200)
    return attempt_on(genuine, document)


def swapped_signatures(genuine: Genuine) -> Attempt:
    document = genuine.document
    record, started = document["record"], document["started"]
    record["signatures"], started["signatures"] = started["signatures"], record["signatures"]
    return attempt_on(genuine, document)


def swapped_statements(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"], document["started"] = document["started"], document["record"]
    return attempt_on(genuine, document)


def start_of_another_execution(genuine: Genuine) -> Attempt:
    def change(predicate: dict[str, Any]) -> None:
        predicate.update(execution_id="exec_" + "f" * 32)

    return lie(genuine, change, "started")


def start_with_another_number(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate.update(seq=3), "started")


def start_with_another_plan(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate.update(plan_digest="sha256:" + "0" * 64), "started")


def start_without_the_nonce(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate.update(nonce=None), "started")


def start_at_another_time(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate.update(accepted_at="2026-01-31T11:00:00.000Z"), "started")


def start_with_another_manifest(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate.update(manifest="sha256:" + "0" * 64), "started")


def start_about_something_else(genuine: Genuine) -> Attempt:
    document, payload = genuine.document, genuine.payload("started")
    payload["subject"][0]["digest"]["sha256"] = "0" * 64
    document["started"] = sealed(canonical_bytes(payload), genuine.signer)
    return logged(genuine, document)


def start_of_another_version(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate.update(engine_version="0.9.0"), "started")


def answer_to_another_challenge(genuine: Genuine) -> Attempt:
    return Attempt(genuine.data, genuine.trust, nonce="auditor-8")


def another_version(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate.update(engine_version="0.9.0"))


def no_signature(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["signatures"] = []
    return attempt_on(genuine, document)


def two_signatures(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["started"]["signatures"] *= 2
    return attempt_on(genuine, document)


def forged_ratio(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate["metrics"].update(tokens_per_watt=99.5))


def forged_plan(genuine: Genuine) -> Attempt:
    return lie(genuine, lambda predicate: predicate["plan"].update(seed=7))


def small_order_key_of_a_development_version(genuine: Genuine) -> Attempt:
    weak = TrustedKey(engine_version=genuine.trust.keys[0].engine_version, public_key=WEAK_KEY)
    return with_trust(genuine, keys=(weak,))
