"""Manifests, revocations and the two reports: every verdict with its code."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.releases.manifest import EngineManifest, Predecessor, version_order
from contracts.releases.reports import PredecessorFigures
from contracts.releases.statements import state_manifest, state_revocation, state_validation
from contracts.verify.release import (
    verify_comparison,
    verify_manifest,
    verify_revocation,
    verify_validation,
)
from contracts.wire.canonical import canonical_bytes
from contracts.wire.envelope import Envelope, seal
from tests.factories import make_signer
from tests.releases import (
    HOST,
    ROOT,
    VERSION_KEY,
    make_comparison,
    make_keyring,
    make_manifest,
    make_release,
    make_revocation,
    make_validation,
    payload_digest,
    root_key,
    sealed_comparison,
    sealed_manifest,
    sealed_revocation,
    sealed_validation,
)

KEYRING = make_keyring()
GENUINE = sealed_manifest()
STRANGER = make_signer()
WEAK = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
DIGEST = "sha256:" + "0" * 64
SIGNED_BY_THE_ROOT = ("size", "envelope", "payload type", "encoding", "signature count", "root signature")
MANIFEST_CHECKS = (*SIGNED_BY_THE_ROOT, "manifest", "consistency", "validity", "version key")
REVOCATION_CHECKS = (*SIGNED_BY_THE_ROOT, "revocation", "consistency", "validity")
REPORT_CHECKS = (
    *("size", "envelope", "payload type", "encoding", "signature count", "version signature"),
    *("report", "consistency", "result"),
)
EARLIER, LATER = "2026-01-29T23:59:59.999Z", "2026-02-01T00:00:00.000Z"


def verdict(data: bytes, **keyring: Any) -> str:
    return verify_manifest(data, make_keyring(**keyring)).verdict


def test_a_genuine_manifest_is_valid() -> None:
    verified = verify_manifest(GENUINE, KEYRING)
    assert verified.verdict == "VALID"
    assert [check.name for check in verified.checks] == list(MANIFEST_CHECKS)
    assert verified.document == make_release()


def test_a_home_made_manifest_is_not_trusted() -> None:
    assert verdict(sealed_manifest(make_manifest(), STRANGER)) == "UNTRUSTED_MANIFEST"


@given(st.integers(0, len(GENUINE) - 1), st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_never_valid(position: int, mask: int) -> None:
    changed = bytearray(GENUINE)
    changed[position] ^= mask
    assert verdict(bytes(changed)) != "VALID"


def changed(**changes: Any) -> bytes:
    return sealed_manifest(make_manifest(**changes))


def with_source(**changes: Any) -> bytes:
    return changed(source=make_manifest().source.model_copy(update=changes))


def restated(**changes: object) -> bytes:
    return seal(canonical_bytes(json.loads(state_manifest(make_manifest()).encode()) | changes), ROOT)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (changed(public_key=WEAK), "WEAK_KEY"),
        (changed(public_key="AAAA"), "MALFORMED"),
        (changed(created_at=EARLIER), "OUT_OF_VALIDITY"),
        (with_source(digest=DIGEST), "ID_MISMATCH"),
        (with_source(files=make_manifest().source.files[:1]), "ID_MISMATCH"),
        (changed(images=make_manifest().images * 2), "ID_MISMATCH"),
        (changed(predecessor=Predecessor(engine_version="0.1.0", manifest=DIGEST)), "ID_MISMATCH"),
        (changed(predecessor=Predecessor(engine_version="0.0.9", manifest=DIGEST)), "VALID"),
        (changed(engine_version="0.1"), "SCHEMA_VIOLATION"),
        (changed(engine_version="0.1.0+dev.0123456789ab"), "SCHEMA_VIOLATION"),
        (changed(engine_version="00.1.0"), "SCHEMA_VIOLATION"),
        (restated(extra=1), "SCHEMA_VIOLATION"),
        (restated(subject=[{"name": "source", "digest": {"sha256": "0" * 64}}]), "ID_MISMATCH"),
        (sealed_manifest(make_manifest(), ROOT, ROOT), "SIGNATURE_COUNT"),
        (seal(state_manifest(make_manifest()).encode()), "SIGNATURE_COUNT"),
        (seal(b'{"a":1,"a":2}', ROOT), "MALFORMED"),
        (seal(b'{"a":NaN}', ROOT), "MALFORMED"),
        (seal(b'{"a":9007199254740993}', ROOT), "OUT_OF_RANGE"),
        (seal(json.dumps(json.loads(state_manifest(make_manifest()).encode())).encode(), ROOT), "MALFORMED"),
        (sealed_revocation(), "SCHEMA_VIOLATION"),
        (b" " * (Envelope.MAX_BYTES + 1), "TOO_LARGE"),
        (b"{", "MALFORMED"),
        (json.dumps(json.loads(GENUINE) | {"payloadType": "text/plain"}).encode(), "UNSUPPORTED_TYPE"),
        (json.dumps(json.loads(GENUINE) | {"payload": "a"}).encode(), "MALFORMED"),
    ],
)
def test_every_fault_of_a_manifest_has_its_code(data: bytes, code: str) -> None:
    assert verdict(data) == code


def test_a_manifest_is_held_against_the_time_of_its_root_key() -> None:
    ended = make_keyring(root_key(ROOT, EARLIER, EARLIER))
    assert verify_manifest(GENUINE, ended).verdict == "OUT_OF_VALIDITY"
    replaced = make_keyring(root_key(ROOT, valid_until=LATER), root_key(STRANGER, LATER), version=2)
    assert verify_manifest(GENUINE, replaced).verdict == "VALID"


def test_a_keyring_may_ask_for_several_signatures() -> None:
    keyring = make_keyring(root_key(ROOT), root_key(STRANGER), threshold=2)
    assert verify_manifest(GENUINE, keyring).verdict == "SIGNATURE_COUNT"
    assert verify_manifest(sealed_manifest(make_manifest(), ROOT, ROOT), keyring).verdict == "UNTRUSTED_MANIFEST"
    assert verify_manifest(sealed_manifest(make_manifest(), ROOT, STRANGER), keyring).verdict == "VALID"


def test_versions_are_ordered_by_their_numbers() -> None:
    assert sorted(["0.10.0", "0.9.1", "1.0.0"], key=version_order) == ["0.9.1", "0.10.0", "1.0.0"]


def test_a_genuine_revocation_is_valid() -> None:
    verified = verify_revocation(sealed_revocation(), KEYRING)
    assert verified.verdict == "VALID"
    assert [check.name for check in verified.checks] == list(REVOCATION_CHECKS)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (sealed_revocation(None, STRANGER), "BAD_SIGNATURE"),
        (sealed_revocation(None, ROOT, STRANGER), "SIGNATURE_COUNT"),
        (GENUINE, "SCHEMA_VIOLATION"),
    ],
)
def test_a_revocation_that_is_not_the_roots_is_refused(data: bytes, code: str) -> None:
    assert verify_revocation(data, KEYRING).verdict == code


def test_a_revocation_names_its_manifest_as_its_subject_and_its_keys_time() -> None:
    statement = json.loads(state_revocation(make_revocation()).encode())
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    assert verify_revocation(seal(canonical_bytes(statement), ROOT), KEYRING).verdict == "ID_MISMATCH"
    early = sealed_revocation(make_revocation(revoked_at=EARLIER))
    assert verify_revocation(early, KEYRING).verdict == "OUT_OF_VALIDITY"


class TestReports:
    def test_the_reports_that_the_manifest_names_are_valid(self) -> None:
        validated = verify_validation(sealed_validation(), make_release())
        compared = verify_comparison(sealed_comparison(), make_release())
        for verified in (validated, compared):
            assert verified.verdict == "VALID"
            assert [check.name for check in verified.checks] == list(REPORT_CHECKS)
        assert validated.document == make_validation()
        assert compared.document == make_comparison()

    def test_a_report_is_signed_once_with_the_versions_key(self) -> None:
        release = make_release()
        assert verify_validation(sealed_validation(None, ROOT), release).verdict == "BAD_SIGNATURE"
        payload = state_validation(make_validation()).encode()
        assert verify_validation(seal(payload, VERSION_KEY, ROOT), release).verdict == "SIGNATURE_COUNT"
        weak = make_release(make_manifest(public_key=WEAK))
        assert verify_validation(sealed_validation(), weak).verdict == "WEAK_KEY"

    def test_another_report_of_the_same_key_is_refused(self) -> None:
        other = sealed_validation(make_validation(created_at=LATER))
        assert verify_validation(other, make_release()).verdict == "ID_MISMATCH"
        assert verify_comparison(sealed_validation(), make_release()).verdict == "SCHEMA_VIOLATION"

    def test_a_report_about_another_version_is_refused(self) -> None:
        other = sealed_validation(make_validation("0.2.0"))
        manifest = make_manifest(validation=payload_digest(other))
        assert verify_validation(other, make_release(manifest)).verdict == "ID_MISMATCH"

    def test_a_report_with_another_subject_is_refused(self) -> None:
        statement = json.loads(state_validation(make_validation()).encode())
        statement["subject"][0]["name"] = "something"
        other = seal(canonical_bytes(statement), VERSION_KEY)
        manifest = make_manifest(validation=payload_digest(other))
        assert verify_validation(other, make_release(manifest)).verdict == "ID_MISMATCH"

    def test_a_signed_failure_is_a_failure(self) -> None:
        good = make_validation()
        broken = good.conformance[0].model_copy(update={"holds": False, "observed": "two outputs"})
        escaped = good.escape[0].model_copy(update={"as_expected": 198})
        report = make_validation(conformance=(broken,), escape=(escaped,))
        assert report.failures == (
            "greedy_repeats on cpu_avx2: two outputs",
            "escape suite on cpu_avx2 (hardened): 2 of 200 attacks not as expected",
        )
        data = sealed_validation(report)
        release = make_release(make_manifest(validation=payload_digest(data)))
        assert verify_validation(data, release).verdict == "VALIDATION_FAILED"

    def release_after(self, data: bytes, version: str) -> EngineManifest:
        predecessor = Predecessor(engine_version=version, manifest=DIGEST)
        return make_manifest(comparison=payload_digest(data), predecessor=predecessor)

    def test_a_comparison_is_with_the_predecessor_of_the_manifest(self) -> None:
        before = PredecessorFigures(
            engine_version="0.0.9", comparison=DIGEST, host=HOST, incomparable=("another machine",), cases=()
        )
        data = sealed_comparison(make_comparison(predecessor=before, predecessor_reason=None))
        assert verify_comparison(data, make_release(self.release_after(data, "0.0.9"))).verdict == "VALID"
        assert verify_comparison(data, make_release(self.release_after(data, "0.0.8"))).verdict == "ID_MISMATCH"
        first = sealed_comparison()
        assert verify_comparison(first, make_release(self.release_after(first, "0.0.9"))).verdict == "ID_MISMATCH"
