"""Lies by the holder of the engine's key: a record is changed, its digests are adapted, and it is signed again."""

import json
from collections.abc import Callable
from typing import Any

from contracts.execution.metrics import Measurements, derive_metrics
from contracts.execution.power_evidence import PowerEvidence
from contracts.verify.record import verify_record
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import Envelope, decode_base64, seal
from contracts.wire.units import NS_PER_S
from tests.factories import make_envelope, make_signer, make_trust

__all__ = [
    "NS_PER_S",
    "Change",
    "both",
    "fail",
    "limit",
    "power",
    "raw",
    "sample",
    "sandbox",
    "state",
    "unheard",
    "unsent",
    "verdict",
    "warm",
]

SIGNER = make_signer()
Change = Callable[[dict[str, Any]], object]


def verdict(payload: dict[str, Any]) -> str:
    """The verdict on a statement, signed."""
    trust = make_trust(SIGNER, payload["predicate"]["engine_version"])
    return verify_record(seal(canonical_bytes(payload), SIGNER), trust).verdict


def state(change: Change) -> str:
    """The verdict on a changed record, with plan digest and metrics adapted, and signed again."""
    payload = json.loads(decode_base64(Envelope.parse(make_envelope(SIGNER)).payload))
    predicate = payload["predicate"]
    change(predicate)
    predicate["plan_digest"] = sha256_digest(canonical_bytes(predicate["plan"]))
    payload["subject"][0]["digest"]["sha256"] = predicate["plan_digest"].removeprefix("sha256:")
    if predicate["output"] is None:
        payload["subject"] = payload["subject"][:1]
    if predicate["metrics"] is not None:
        measured = Measurements.model_validate_json(json.dumps(predicate["measurements"]))
        evidence = PowerEvidence.model_validate_json(json.dumps(predicate["power"]))
        predicate["metrics"] = derive_metrics(measured, evidence).model_dump(mode="json")
    return verdict(payload)


def both(*changes: Change) -> Change:
    def change(predicate: dict[str, Any]) -> None:
        for each in changes:
            each(predicate)

    return change


def fail(predicate: dict[str, Any]) -> None:
    predicate.update(outcome="failed", reason={"code": "x", "message": "x"})


def raw(**values: object) -> Change:
    return lambda predicate: predicate["measurements"].update(values)


def power(**values: object) -> Change:
    return lambda predicate: predicate["power"].update(values)


def sample(which: str, **values: object) -> Change:
    def change(predicate: dict[str, Any]) -> None:
        next(each for each in predicate["power"]["samples"] if each["mark"] == which).update(values)

    return change


def limit(**values: object) -> Change:
    return lambda predicate: predicate["power"]["limit"].update(values)


def sandbox(**values: object) -> Change:
    return lambda predicate: predicate["sandbox"].update(values)


def warm(predicate: dict[str, Any]) -> None:
    """Its model was loaded before it came."""
    sandbox(start="warm", age_ms=1)(predicate)
    predicate["power"]["samples"] = [each for each in predicate["power"]["samples"] if each["mark"] != "start"]


def unheard(predicate: dict[str, Any]) -> None:
    """It failed after the job was sent and before the runner answered."""
    fail(predicate)
    raw(tokens_prompt=None, prompt_done_ns=None, token_times_ns=[], finish_reason=None)(predicate)
    predicate["power"]["samples"] = [each for each in predicate["power"]["samples"] if each["mark"] != "prefill"]


def unsent(predicate: dict[str, Any]) -> None:
    """It failed before the job was sent."""
    unheard(predicate)
    predicate["output"] = None
    samples = [each for each in predicate["power"]["samples"] if each["mark"] != "job"]
    predicate["power"].update(samples=[each | {"at_ns": index - 1} for index, each in enumerate(samples)])
