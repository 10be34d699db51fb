"""A record of a released version, trusted through its manifest: every verdict with its code."""

from typing import Any

import pytest

from contracts.releases.manifest import EngineManifest
from contracts.verify.checks import CheckFailed
from contracts.verify.record import CHECKS
from contracts.verify.speaker import ReleaseEvidence, claimed_version, require_release, verify_released_record
from contracts.verify.trust import Trust, TrustedKey
from contracts.wire.envelope import Envelope, seal
from supervisor.adapters.identity.keys import FileSigner
from supervisor.domain.records.recording import abort_conclusion, build_record, encode_statement
from tests.factories import EXECUTION_ID, make_conclusion, make_envelope, make_plan, make_signer
from tests.factories import WHEN as RECORD_WHEN
from tests.releases import (
    ROOT,
    VERSION,
    VERSION_KEY,
    make_keyring,
    make_manifest,
    make_release,
    make_revocation,
    root_key,
    sealed_keyring,
    sealed_manifest,
    sealed_revocation,
)

DIGEST = "sha256:" + "0" * 64
STRANGER = make_signer()
ROOTED = Trust(schema_version="weos.trust/1", keys=(), root=make_keyring())
EVIDENCE = ReleaseEvidence(manifest=sealed_manifest(), keyrings=(sealed_keyring(make_keyring()),))


def released_record(
    signer: FileSigner = VERSION_KEY,
    version: str = VERSION,
    planned_as: str | None = None,
    manifest: str | None = None,
    **plan: Any,
) -> bytes:
    planned = make_plan().model_copy(update={"engine_version": planned_as or version} | plan)
    record = build_record(
        EXECUTION_ID,
        planned,
        make_conclusion() if planned.engine_version == version else abort_conclusion(),
        seq=1,
        engine_version=version,
        manifest=manifest or make_release().digest,
        accepted_at=RECORD_WHEN,
        finished_at=RECORD_WHEN,
    )
    return seal(encode_statement(record), signer)


GENUINE = released_record()


def verdict(
    data: bytes = GENUINE, trust: Trust = ROOTED, evidence: ReleaseEvidence = EVIDENCE, index: int | None = 3
) -> str:
    return verify_released_record(data, trust, evidence, ledger_index=index).verdict


def evidence(
    manifest: bytes | None = None, keyrings: tuple[bytes, ...] = (), revocations: tuple[bytes, ...] = ()
) -> ReleaseEvidence:
    return ReleaseEvidence(manifest or sealed_manifest(), keyrings, revocations)


def with_manifest(manifest: EngineManifest, *signers: FileSigner) -> ReleaseEvidence:
    return evidence(sealed_manifest(manifest, *signers))


def test_a_record_of_a_released_version_is_valid_through_its_manifest() -> None:
    report = verify_released_record(GENUINE, ROOTED, EVIDENCE)
    assert report.verdict == "VALID"
    assert [check.name for check in report.checks] == ["root keyring 1", "engine manifest", *CHECKS, "release"]
    assert report.record is not None
    assert claimed_version(GENUINE) == VERSION


def test_without_a_manifest_it_is_not_trusted() -> None:
    assert verdict(evidence=ReleaseEvidence()) == "UNTRUSTED_MANIFEST"
    assert verdict(evidence=with_manifest(make_manifest(), STRANGER)) == "UNTRUSTED_MANIFEST"


def test_a_key_beside_the_root_does_not_speak_for_a_released_version() -> None:
    key = TrustedKey(engine_version=VERSION, public_key=VERSION_KEY.public_key)
    assert verdict(trust=Trust(schema_version="weos.trust/1", keys=(key,))) == "VALID"
    rooted = ROOTED.model_copy(update={"keys": (key,)})
    assert verdict(trust=rooted, evidence=ReleaseEvidence()) == "UNTRUSTED_MANIFEST"


def test_a_development_version_is_trusted_through_its_key() -> None:
    data = make_envelope(STRANGER)
    key = TrustedKey(engine_version=make_plan().engine_version, public_key=STRANGER.public_key)
    assert verdict(data, ROOTED.model_copy(update={"keys": (key,)})) == "VALID"
    assert verdict(data) == "BAD_SIGNATURE"
    pretended = TrustedKey(engine_version=VERSION, public_key=STRANGER.public_key)
    assert verdict(data, ROOTED.model_copy(update={"keys": (pretended,)})) == "BAD_SIGNATURE"


def test_a_non_record_is_reported_with_the_usual_error() -> None:
    assert verdict(b"{") == "MALFORMED"
    assert verdict(b" " * (Envelope.MAX_BYTES + 1)) == "TOO_LARGE"


LATER_MANIFEST = make_manifest(created_at="2026-02-01T00:00:00.000Z")
LATER = with_manifest(LATER_MANIFEST)
LATER_RECORD = released_record(manifest=make_release(LATER_MANIFEST).digest)
NEXT = make_keyring(root_key(ROOT), root_key(STRANGER), version=2)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"trust": ROOTED.model_copy(update={"root": NEXT})}, "ROOT_ROLLBACK"),
        ({"evidence": evidence(keyrings=(sealed_keyring(make_keyring(root_key(STRANGER)), STRANGER),))}, "FORK"),
        ({"evidence": evidence(keyrings=(sealed_keyring(NEXT, STRANGER),))}, "SIGNATURE_COUNT"),
        ({"evidence": evidence(keyrings=(sealed_keyring(NEXT, ROOT),))}, "VALID"),
        ({"data": released_record(version="0.2.0")}, "KEY_VERSION_MISMATCH"),
        ({"data": released_record(STRANGER)}, "BAD_SIGNATURE"),
        ({"data": released_record(policies={"sandbox.toml": DIGEST})}, "ID_MISMATCH"),
        ({"data": released_record(runtime_image=DIGEST)}, "ID_MISMATCH"),
        ({"data": released_record(backend="cpu_avx512")}, "ID_MISMATCH"),
        ({"data": released_record(planned_as="0.0.9", runtime_image=DIGEST)}, "VALID"),
        ({"evidence": LATER}, "ID_MISMATCH"),
        ({"evidence": LATER, "data": LATER_RECORD}, "OUT_OF_VALIDITY"),
        ({"evidence": evidence(revocations=(sealed_revocation(),)), "index": 7}, "REVOKED"),
        ({"evidence": evidence(revocations=(sealed_revocation(),)), "index": None}, "REVOKED"),
        ({"evidence": evidence(revocations=(sealed_revocation(),)), "index": 6}, "VALID"),
        ({"evidence": evidence(revocations=(sealed_revocation(make_revocation(engine_version="9.0.0")),))}, "VALID"),
        ({"evidence": evidence(revocations=(sealed_revocation(None, STRANGER),))}, "BAD_SIGNATURE"),
    ],
)
def test_every_fault_has_its_code(changes: dict[str, Any], code: str) -> None:
    assert verdict(**changes) == code


def test_a_record_is_judged_against_the_manifest_at_hand() -> None:
    report = verify_released_record(GENUINE, ROOTED, EVIDENCE)
    assert report.record is not None
    other = make_release(make_manifest(engine_version="0.2.0"))
    with pytest.raises(CheckFailed) as failed:
        require_release(report.record, other, (), None)
    assert failed.value.code == "KEY_VERSION_MISMATCH"
    later = make_release(make_manifest(created_at="2026-01-31T13:00:00.000Z"))
    times = {"finished_at": "2026-02-01T00:00:00.000Z", "manifest": later.digest}
    with pytest.raises(CheckFailed) as failed:
        require_release(report.record.model_copy(update=times), later, (), None)
    assert failed.value.code == "OUT_OF_VALIDITY"
