import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import Reason, Statement
from contracts.execution.power_evidence import PowerEvidence
from contracts.verify.record import CHECKS, output_matches, verify_record
from contracts.verify.trust import Trust, TrustedKey
from contracts.wire.canonical import canonical_bytes
from contracts.wire.envelope import PAYLOAD_TYPE, Envelope, decode_base64, pre_authentication_bytes, seal
from contracts.wire.keys import encode_public_key, key_fingerprint, load_public_key
from supervisor.adapters.identity.keys import FileSigner
from supervisor.domain.records.recording import abort_conclusion
from tests.factories import (
    EXECUTION_ID,
    make_conclusion,
    make_envelope,
    make_limit,
    make_plan,
    make_signer,
    make_trust,
)
from tests.meters import FakeMeter, make_metering, make_power

SIGNER = make_signer()
GENUINE = make_envelope(SIGNER)
TRUST = make_trust(SIGNER)


def payload_of(envelope: bytes) -> dict[str, Any]:
    payload = json.loads(decode_base64(Envelope.parse(envelope).payload))
    assert isinstance(payload, dict)
    return payload


def resealed(change: Any, signer: FileSigner = SIGNER) -> bytes:
    """A record that the engine's own key signs after `change` was made to its payload."""
    payload = payload_of(GENUINE)
    change(payload["predicate"])
    return seal(canonical_bytes(payload), signer)


def verdict(data: bytes, trust: Trust = TRUST) -> str:
    report = verify_record(data, trust)
    assert len(report.checks) <= len(CHECKS)
    return report.verdict


def test_a_genuine_record_is_valid() -> None:
    report = verify_record(GENUINE, TRUST)
    assert report.verdict == "VALID"
    assert [check.name for check in report.checks] == list(CHECKS)
    assert report.record is not None
    assert report.record.execution_id == EXECUTION_ID
    assert output_matches(report.record, "Olá".encode())
    assert not output_matches(report.record, b"Ola")


@given(st.integers(0, len(GENUINE) - 1), st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_never_valid(position: int, mask: int) -> None:
    changed = bytearray(GENUINE)
    changed[position] ^= mask
    assert verdict(bytes(changed)) != "VALID"


def test_every_single_bit_of_a_stored_record_matters() -> None:
    for position in range(len(GENUINE)):
        changed = bytearray(GENUINE)
        changed[position] ^= 1 << (position % 8)
        assert verdict(bytes(changed)) != "VALID", position


def test_a_record_without_metrics_is_valid_when_it_is_not_completed() -> None:
    assert verdict(make_envelope(SIGNER, abort_conclusion())) == "VALID"


def test_the_next_version_records_what_an_earlier_one_left_unfinished() -> None:
    trust = make_trust(SIGNER, "0.2.0")
    assert verdict(make_envelope(SIGNER, abort_conclusion(), "0.2.0"), trust) == "VALID"
    assert verdict(make_envelope(SIGNER, make_conclusion(), "0.2.0"), trust) == "ID_MISMATCH"


def test_partial_execution_is_valid_with_its_reason() -> None:
    conclusion = make_conclusion(outcome="cancelled", reason=Reason(code="cancelled", message="told"))
    assert verdict(make_envelope(SIGNER, conclusion)) == "VALID"


def set_metric(name: str, value: object) -> Any:
    def change(predicate: dict[str, Any]) -> None:
        predicate["metrics"][name] = value

    return change


def swap_marks(predicate: dict[str, Any]) -> None:
    samples = predicate["power"]["samples"]
    samples[1]["mark"], samples[2]["mark"] = samples[2]["mark"], samples[1]["mark"]


def set_sample(index: int, **values: int) -> Any:
    def change(predicate: dict[str, Any]) -> None:
        predicate["power"]["samples"][index].update(values)

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (set_metric("tokens_per_sec", 99.5), "METRIC_INCONSISTENT"),
        (set_metric("watts_avg", 1), "METRIC_INCONSISTENT"),
        (set_metric("tokens_total", 4), "METRIC_INCONSISTENT"),
        (lambda p: p.update(metrics=None), "METRIC_INCONSISTENT"),
        (lambda p: p.update(power=None), "METRIC_INCONSISTENT"),
        (lambda p: p.update(reason={"code": "x", "message": ""}), "METRIC_INCONSISTENT"),
        (lambda p: p["power"]["samples"].reverse(), "METRIC_INCONSISTENT"),
        (lambda p: p["power"]["samples"][1].update(mark="start"), "METRIC_INCONSISTENT"),
        (swap_marks, "METRIC_INCONSISTENT"),
        (set_sample(1, at_ns=1), "METRIC_INCONSISTENT"),
        (set_sample(-1, at_ns=81_999_999), "METRIC_INCONSISTENT"),
        (set_sample(-1, cpu_time_ns=0), "METRIC_INCONSISTENT"),
        (set_sample(-1, cpu_time_ns=160_000_000), "METRIC_INCONSISTENT"),
        (lambda p: p["power"]["model"].update(busy_mw=1871), "METRIC_INCONSISTENT"),
        (lambda p: p["power"].update(reserved_cpus=1), "METRIC_INCONSISTENT"),
        (lambda p: p["measurements"]["token_times_ns"].reverse(), "METRIC_INCONSISTENT"),
        (lambda p: p["measurements"].update(token_times_ns=[82_000_000] * 9), "METRIC_INCONSISTENT"),
        (lambda p: p.update(plan_digest="sha256:" + "0" * 64), "ID_MISMATCH"),
        (lambda p: p["plan"].update(seed=1), "ID_MISMATCH"),
        (lambda p: p["determinism"].update(threads=9), "ID_MISMATCH"),
        (lambda p: p.update(determinism=None), "ID_MISMATCH"),
        (lambda p: p["output"].update(sha256="sha256:" + "0" * 64), "ID_MISMATCH"),
        (lambda p: p.update(engine_version="0.2.0"), "KEY_VERSION_MISMATCH"),
        (lambda p: p.pop("sandbox"), "SCHEMA_VIOLATION"),
        (lambda p: p.update(extra=1), "SCHEMA_VIOLATION"),
        (lambda p: p.update(execution_id="exec_9"), "SCHEMA_VIOLATION"),
    ],
)
def test_a_signed_lie_is_found(change: Any, code: str) -> None:
    assert verdict(resealed(change)) == code


def test_a_field_that_is_left_out_of_what_is_signed_is_found() -> None:
    # A reader of the payload as it is would compute another digest of the plan.
    assert verdict(resealed(lambda predicate: predicate["plan"].pop("role"))) == "SCHEMA_VIOLATION"
    assert verdict(resealed(lambda predicate: predicate["plan"]["sampling"].pop("top_k"))) == "SCHEMA_VIOLATION"


def test_a_statement_under_a_name_that_in_toto_does_not_know_is_found() -> None:
    payload = payload_of(GENUINE)
    payload["type_"] = payload.pop("_type")
    assert verdict(seal(canonical_bytes(payload), SIGNER)) == "SCHEMA_VIOLATION"


def test_a_plan_of_another_version_is_found() -> None:
    def change(predicate: dict[str, Any]) -> None:
        predicate["plan"]["engine_version"] = "0.2.0"
        plan = ExecutionPlan.model_validate_json(json.dumps(predicate["plan"]))
        predicate["plan_digest"] = plan.canonical_digest()

    assert verdict(resealed(change)) == "ID_MISMATCH"


def test_a_subject_too_many_is_found() -> None:
    payload = payload_of(GENUINE)
    payload["subject"] = [payload["subject"][0], payload["subject"][0]]
    assert verdict(seal(canonical_bytes(payload), SIGNER)) == "ID_MISMATCH"


def test_another_key_is_not_accepted() -> None:
    assert verdict(make_envelope(make_signer())) == "BAD_SIGNATURE"
    assert verdict(GENUINE, make_trust(make_signer())) == "BAD_SIGNATURE"


def test_a_key_speaks_only_for_its_version() -> None:
    assert verdict(GENUINE, make_trust(SIGNER, "9.9.9")) == "KEY_VERSION_MISMATCH"


def envelope_with(**changes: object) -> bytes:
    return json.dumps(json.loads(GENUINE) | changes).encode()


def test_the_envelope_must_be_what_it_is() -> None:
    signature = json.loads(GENUINE)["signatures"][0]
    assert verdict(envelope_with(payloadType="text/plain")) == "UNSUPPORTED_TYPE"
    assert verdict(envelope_with(signatures=[])) == "SIGNATURE_COUNT"
    assert verdict(envelope_with(signatures=[signature, signature])) == "SIGNATURE_COUNT"
    assert verdict(envelope_with(extra=1)) == "SCHEMA_VIOLATION"
    assert verdict(envelope_with(payload="a")) == "MALFORMED"
    assert verdict(envelope_with(payload="é")) == "MALFORMED"
    assert verdict(b"{") == "MALFORMED"
    assert verdict(b" " * (Envelope.MAX_BYTES + 1)) == "TOO_LARGE"


def test_a_lie_in_the_hint_changes_nothing() -> None:
    signature = json.loads(GENUINE)["signatures"][0] | {"keyid": "somebody else"}
    assert verdict(envelope_with(signatures=[signature])) == "VALID"


def test_base64_with_trailing_bits_is_malformed() -> None:
    text = json.loads(GENUINE)["signatures"][0]["sig"]
    assert text.endswith("==")
    # The last character before the padding carries 2 significant bits; the other 4 must be zero.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bent = text[:-3] + alphabet[alphabet.index(text[-3]) + 1] + "=="
    assert base64.b64decode(bent, validate=True) == base64.b64decode(text)
    assert verdict(envelope_with(signatures=[{"sig": bent}])) == "MALFORMED"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'{"a":1,"a":2}', "MALFORMED"),
        (b'{"a":NaN}', "MALFORMED"),
        (b'{"a":9007199254740993}', "OUT_OF_RANGE"),
        (b"{}", "SCHEMA_VIOLATION"),
        (b'"' + b"a" * Statement.MAX_BYTES + b'"', "TOO_LARGE"),
    ],
)
def test_a_signed_payload_that_is_no_record_is_refused(payload: bytes, code: str) -> None:
    assert verdict(seal(payload, SIGNER)) == code


def test_a_payload_in_another_spelling_is_refused() -> None:
    spaced = json.dumps(payload_of(GENUINE)).encode()
    assert verdict(seal(spaced, SIGNER)) == "MALFORMED"


def test_the_signed_bytes_are_dsses() -> None:
    assert pre_authentication_bytes(PAYLOAD_TYPE, b"hi") == b"DSSEv1 28 application/vnd.in-toto+json 2 hi"


class TestKeys:
    def key(self, raw: bytes) -> str:
        return base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()

    def test_a_public_key_survives_its_encoding(self) -> None:
        key = Ed25519PrivateKey.generate().public_key()
        again = load_public_key(encode_public_key(key))
        assert again.public_bytes(Encoding.Raw, PublicFormat.Raw) == key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        assert key_fingerprint(again) == key_fingerprint(key)

    @pytest.mark.parametrize(
        "raw",
        [
            bytes(32),
            b"\x01" + bytes(31),
            b"\x01" + bytes(30) + b"\x80",
            b"\xec" + b"\xff" * 30 + b"\x7f",
            b"\xed" + b"\xff" * 30 + b"\x7f",
            b"\xff" * 32,
        ],
    )
    def test_a_weak_key_is_refused(self, raw: bytes) -> None:
        trust = Trust(
            schema_version="weos.trust/1", keys=(TrustedKey(engine_version="0.1.0", public_key=self.key(raw)),)
        )
        assert verdict(GENUINE, trust) == "WEAK_KEY"

    @pytest.mark.parametrize("text", ["", "AAAA", "%%%%"])
    def test_a_text_that_is_not_a_key_is_refused(self, text: str) -> None:
        trust = Trust(schema_version="weos.trust/1", keys=(TrustedKey(engine_version="0.1.0", public_key=text),))
        assert verdict(GENUINE, trust) == "MALFORMED"

    def test_a_key_of_another_kind_is_refused(self) -> None:
        der = X25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        key = TrustedKey(engine_version="0.1.0", public_key=base64.b64encode(der).decode())
        assert verdict(GENUINE, Trust(schema_version="weos.trust/1", keys=(key,))) == "WEAK_KEY"


def test_counters_of_a_meter_only_grow() -> None:
    meter = FakeMeter("rapl", ("package-0",))
    kept = make_limit().model_copy(update={"basis": "measured"})
    template = make_metering(meter).template(reserved_cpus=2).model_copy(update={"limit": kept})
    model = make_power()

    def with_energy(*values: int | None) -> PowerEvidence:
        samples = tuple(
            sample.model_copy(update={"busy_ns": sample.cpu_time_ns, "energy_uj": {"package-0": value}})
            for sample, value in zip(model.samples, values, strict=True)
        )
        return template.model_copy(update={"samples": samples})

    plan = make_plan().model_copy(update={"power_source": "rapl"})

    def verdict_of(*values: int | None) -> str:
        return verdict(make_envelope(SIGNER, make_conclusion(power=with_energy(*values)), plan=plan))

    assert verdict_of(0, 10, None, 20) == "VALID"
    assert verdict_of(0, 10, 30, 20) == "METRIC_INCONSISTENT"
