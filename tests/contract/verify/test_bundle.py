"""What bytes of a bundle matter, what its verdict does not say, and what several bundles say together."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.releases.statements import state_manifest
from contracts.verify.bundle import BundleReport, SeenBundles, verify_bundle
from contracts.verify.trust import TrustedKey
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import seal
from supervisor.adapters.identity.keys import FileSigner
from tests.attacks.forging import MemoryLog, revocation_of
from tests.attacks.genuine import NONCE, SECOND_ROOT, Genuine, development_bundle, left_behind_bundle, released_bundle
from tests.attacks.harmless import cosigned, seen_before, seen_when_it_was_shorter
from tests.factories import make_signer
from tests.releases import ROOT, VERSION_KEY, make_manifest, sealed_manifest

DEVELOPED = development_bundle()
RELEASED = released_bundle()
LEFT_BEHIND = left_behind_bundle()
ALL = (DEVELOPED, RELEASED, LEFT_BEHIND)


def verdict(data: bytes, genuine: Genuine) -> str:
    return verify_bundle(data, genuine.trust).verdict


# Every byte of a bundle stands in a JSON document with no spare spelling left but those of JSON itself.


def same_document(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except (ValueError, UnicodeDecodeError):
        return False


@given(st.sampled_from(ALL), st.data())
def test_a_changed_byte_anywhere_is_never_valid(genuine: Genuine, data: st.DataObject) -> None:
    changed = bytearray(genuine.data)
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    assert verdict(bytes(changed), genuine) != "VALID" or same_document(genuine.data, bytes(changed))


@pytest.mark.parametrize("genuine", ALL, ids=["development", "released", "left behind"])
def test_every_digit_of_what_is_signed_or_proven_matters(genuine: Genuine) -> None:
    """One bit of each seventh byte: all of them would take a minute."""
    for position in range(0, len(genuine.data), 7):
        changed = bytearray(genuine.data)
        changed[position] ^= 1 << (position % 7)
        if not same_document(genuine.data, bytes(changed)):
            assert verdict(bytes(changed), genuine) != "VALID", position


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every value in a document, by where it stands."""
    if isinstance(value, dict):
        return [path, *(each for name, inner in value.items() for each in places(inner, (*path, name)))]
    if isinstance(value, list):
        return [path, *(each for index, inner in enumerate(value) for each in places(inner, (*path, index)))]
    return [path]


JSON_VALUES: st.SearchStrategy[object] = st.one_of(
    st.none(), st.booleans(), st.integers(0, 99), st.text(max_size=5), st.just([]), st.just({})
)


@given(st.sampled_from(ALL), st.data())
def test_another_value_anywhere_is_never_valid(genuine: Genuine, data: st.DataObject) -> None:
    document = genuine.document
    # `keyid` is a hint, and what it says changes nothing.
    path = data.draw(st.sampled_from([each for each in places(document) if each and each[-1] != "keyid"]))
    parent: Any = document
    for step in path[:-1]:
        parent = parent[step]
    before = parent[path[-1]]
    parent[path[-1]] = data.draw(JSON_VALUES.filter(lambda value: value != before))
    assert verdict(canonical_bytes(document), genuine) != "VALID"


@given(st.sampled_from(ALL), st.sampled_from(["record", "started"]), st.data())
def test_a_changed_byte_of_a_payload_or_signature_is_never_valid(
    genuine: Genuine, name: str, data: st.DataObject
) -> None:
    document = genuine.document
    envelope = document[name]
    holder, key = data.draw(st.sampled_from([(envelope, "payload"), (envelope["signatures"][0], "sig")]))
    raw = bytearray(base64.b64decode(holder[key]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    holder[key] = base64.b64encode(raw).decode()
    assert verdict(canonical_bytes(document), genuine) == "BAD_SIGNATURE"


@given(st.sampled_from(ALL), st.sampled_from(["started", "final"]), st.data())
def test_a_changed_character_of_a_proof_is_never_valid(genuine: Genuine, name: str, data: st.DataObject) -> None:
    document = genuine.document
    proof = document["proofs"][name]
    position = data.draw(st.integers(0, len(proof) - 1))
    other = data.draw(st.characters().filter(lambda character: character != proof[position]))
    document["proofs"][name] = proof[:position] + other + proof[position + 1 :]
    assert verdict(json.dumps(document).encode(), genuine) != "VALID"


# What a verdict says, and what it does not.


def not_proven(genuine: Genuine, **changes: Any) -> str:
    report = verify_bundle(genuine.data, genuine.trust.model_copy(update=changes), nonce=None)
    assert report.verdict == "VALID"
    return "\n".join(report.not_proven)


def test_without_a_witness_the_report_says_so() -> None:
    report = verify_bundle(RELEASED.data, RELEASED.trust)
    assert report.checks[-1].name == "witness"
    assert report.checks[-1].message == "none"
    assert "witness: none" in not_proven(RELEASED)
    attempt = cosigned(RELEASED)
    witnessed = verify_bundle(attempt.data, attempt.trust)
    assert witnessed.place is not None
    assert [each.name for each in witnessed.place.witnesses] == ["witness.example"]
    assert "witness: none" not in "\n".join(witnessed.not_proven)
    assert "witness: none" in not_proven(RELEASED, witnesses=attempt.trust.witnesses)


def test_a_longer_ledger_than_was_seen_needs_a_consistency_proof() -> None:
    assert "no earlier checkpoint" in not_proven(RELEASED)
    assert "the 4 seen before" in not_proven(RELEASED, checkpoint=seen_when_it_was_shorter(RELEASED).trust.checkpoint)
    assert "seen before" not in not_proven(RELEASED, checkpoint=seen_before(RELEASED).trust.checkpoint)


def test_trust_through_a_key_only_is_reported() -> None:
    assert "has no manifest" in not_proven(DEVELOPED)
    assert "no root" in not_proven(RELEASED, root=None, keys=(key_of(VERSION_KEY, "0.1.0"),))
    assert "revocations at hand" in not_proven(RELEASED)
    assert "the watts" in not_proven(RELEASED)
    assert "the watts" not in not_proven(LEFT_BEHIND)


def test_a_challenge_that_was_answered_proves_when_it_ran() -> None:
    assert "when it ran" in not_proven(DEVELOPED)
    answered = verify_bundle(DEVELOPED.data, DEVELOPED.trust, nonce=NONCE)
    assert "when it ran" not in "\n".join(answered.not_proven)


def key_of(signer: FileSigner, version: str) -> Any:
    return TrustedKey(engine_version=version, public_key=signer.public_key)


# An execution that one version left behind.


def left_behind(change: Callable[[dict[str, Any]], object]) -> str:
    document = LEFT_BEHIND.document
    change(document)
    return verdict(canonical_bytes(document), LEFT_BEHIND)


def sealed_as(manifest_changes: dict[str, Any], signer: FileSigner = ROOT) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sealed_manifest(make_manifest(**manifest_changes), signer))
    return document


def test_the_version_that_began_is_held_against_its_own_manifest() -> None:
    assert left_behind(lambda document: document.update(started_manifest=None)) == "UNTRUSTED_MANIFEST"
    assert left_behind(lambda d: d.update(started_manifest=sealed_as({}, make_signer()))) == "UNTRUSTED_MANIFEST"
    # The same version and key, another content.
    other = sealed_as({"created_at": "2026-01-30T12:00:00.000Z"})
    assert left_behind(lambda document: document.update(started_manifest=other)) == "ID_MISMATCH"
    assert left_behind(lambda d: d.update(started_manifest=d["manifest"])) == "BAD_SIGNATURE"


def test_the_version_that_began_may_be_revoked() -> None:
    for index, code in ((1, "REVOKED"), (2, "VALID")):
        revocation = json.loads(revocation_of(LEFT_BEHIND, index))
        document = LEFT_BEHIND.document | {"revocations": [revocation]}
        assert verdict(canonical_bytes(document), LEFT_BEHIND) == code


def test_a_start_is_not_older_than_the_version_that_made_it() -> None:
    late = make_manifest(created_at="2026-02-01T00:00:00.000Z")
    document, payload = LEFT_BEHIND.document, LEFT_BEHIND.payload("started")
    payload["predicate"]["manifest"] = sha256_digest(state_manifest(late).encode())
    document["started"] = json.loads(seal(canonical_bytes(payload), VERSION_KEY))
    document["started_manifest"] = json.loads(sealed_manifest(late, SECOND_ROOT))
    assert verdict(canonical_bytes(document), LEFT_BEHIND) == "OUT_OF_VALIDITY"


# Several bundles.


def report_of(genuine: Genuine) -> BundleReport:
    report = verify_bundle(genuine.data, genuine.trust)
    assert report.verdict == "VALID"
    return report


def codes(*reports: BundleReport) -> list[str]:
    seen = SeenBundles()
    return [seen.add(report).code for report in reports]


def placed(report: BundleReport, **changes: Any) -> BundleReport:
    assert report.place is not None
    return replace(report, place=replace(report.place, **changes))


def recorded(report: BundleReport, **changes: Any) -> BundleReport:
    assert report.record is not None
    return replace(report, record=report.record.model_copy(update=changes))


def test_bundles_that_agree_agree() -> None:
    report = report_of(DEVELOPED)
    assert codes(report, report) == ["OK", "OK"]
    assert codes(verify_bundle(b"", DEVELOPED.trust)) == ["OK"]


def test_a_container_is_used_once() -> None:
    report = report_of(DEVELOPED)
    elsewhere = placed(report, positions=(7, 8), leaf_hashes=(b"a", b"b"))
    another = recorded(elsewhere, execution_id="exec_" + "f" * 32, seq=9)
    assert codes(report, another) == ["OK", "DUPLICATE_ID"]
    assert codes(recorded(report, sandbox=None), recorded(another, sandbox=None)) == ["OK", "OK"]


def test_two_bundles_show_what_one_cannot() -> None:
    report = report_of(DEVELOPED)
    assert report.place is not None
    checkpoint, hashes = report.place.checkpoint, report.place.leaf_hashes
    later = replace(checkpoint, size=checkpoint.size + 1)
    assert codes(report, placed(report, checkpoint=replace(checkpoint, root=bytes(32)))) == ["OK", "FORK"]
    rewritten = placed(report, checkpoint=later, leaf_hashes=(hashes[0], bytes(32)))
    assert codes(report, rewritten) == ["OK", "INCONSISTENT"]
    moved = placed(report, checkpoint=later, positions=(6, 7))
    assert codes(report, moved) == ["OK", "DUPLICATE_ID"]
    assert codes(report, recorded(moved, execution_id="exec_" + "e" * 32, sandbox=None)) == ["OK", "DUPLICATE_ID"]
    elsewhere = replace(checkpoint, origin="another", root=bytes(32))
    other = recorded(placed(report, checkpoint=elsewhere), execution_id="exec_" + "e" * 32, sandbox=None)
    assert codes(report, other) == ["OK", "OK"]


def test_a_fork_shows_in_two_genuine_bundles() -> None:
    forked = DEVELOPED.document
    other = MemoryLog([*DEVELOPED.leaves[:-1], DEVELOPED.leaves[0]])
    started, final = DEVELOPED.positions
    forked["proofs"] = {"started": other.proof(started), "final": other.proof(final)}
    report = verify_bundle(canonical_bytes(forked), DEVELOPED.trust)
    assert report.verdict == "VALID"
    assert codes(report_of(DEVELOPED), report) == ["OK", "FORK"]
