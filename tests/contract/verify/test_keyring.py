"""Root keyrings and their rotation: every verdict with its code."""

import json

import pytest

from contracts.releases.manifest import RootKey, RootKeyring
from contracts.releases.statements import state_keyring
from contracts.verify.keyring import read_first_keyring, verify_keyring_chain
from contracts.wire.canonical import canonical_bytes
from contracts.wire.envelope import Envelope, seal
from supervisor.adapters.identity.keys import FileSigner
from tests.factories import make_signer
from tests.releases import ROOT, WHEN, make_keyring, root_key, sealed_keyring, sealed_manifest

SECOND, THIRD = make_signer(), make_signer()
FIRST = make_keyring()
LATER = "2026-02-01T00:00:00.000Z"
# The identity point.
WEAK = RootKey(
    public_key="MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", valid_from=WHEN, valid_until=None
)
KEYRING_CHECKS = ("size", "envelope", "payload type", "encoding", "keyring", "subjects", "version", "signatures")
OTHER_SUBJECT = [{"name": "x", "digest": {"sha256": "0" * 64}}]


def rotated(before: RootKeyring, old: FileSigner, new: FileSigner) -> tuple[RootKeyring, bytes]:
    keys = (root_key(old, valid_until=LATER), root_key(new, LATER))
    keyring = make_keyring(*keys, version=before.version + 1, valid_from=LATER)
    return keyring, sealed_keyring(keyring, old, new)


TWO, TWO_SEALED = rotated(FIRST, ROOT, SECOND)
THREE, THREE_SEALED = rotated(TWO, SECOND, THIRD)
ONE_SEALED = sealed_keyring(FIRST)


def test_the_first_keyring_is_signed_by_its_own_key() -> None:
    verified = read_first_keyring(ONE_SEALED)
    assert verified.verdict == "VALID"
    assert [check.name for check in verified.checks] == list(KEYRING_CHECKS)
    assert verified.document == FIRST


def test_a_chain_leads_from_any_trusted_keyring_to_the_newest() -> None:
    chain = (ONE_SEALED, TWO_SEALED, THREE_SEALED)
    for trusted in (FIRST, TWO, THREE):
        verified = verify_keyring_chain(trusted, chain)
        assert (verified.verdict, verified.document) == ("VALID", THREE)
        assert len(verified.checks) == 3
    assert verify_keyring_chain(TWO, (THREE_SEALED,)).document == THREE


def test_without_a_newer_keyring_the_trusted_one_stays() -> None:
    assert verify_keyring_chain(TWO, ()).document == TWO
    assert verify_keyring_chain(TWO, (TWO_SEALED,)).document == TWO


def statement_of(keyring: RootKeyring, **changes: object) -> bytes:
    return canonical_bytes(json.loads(state_keyring(keyring).encode()) | changes)


TWO_OF_TWO = make_keyring(root_key(ROOT), root_key(SECOND), threshold=2)
OTHER_FIRST = make_keyring(root_key(THIRD))


@pytest.mark.parametrize(
    ("trusted", "chain", "code"),
    [
        (TWO, (ONE_SEALED,), "ROOT_ROLLBACK"),
        (FIRST, (sealed_keyring(OTHER_FIRST, THIRD),), "FORK"),
        (TWO, (ONE_SEALED, sealed_keyring(TWO.model_copy(update={"valid_from": WHEN}), ROOT, SECOND)), "FORK"),
        (TWO, (sealed_keyring(FIRST, THIRD), TWO_SEALED), "BAD_SIGNATURE"),
        (TWO, (ONE_SEALED, sealed_keyring(TWO, SECOND)), "SIGNATURE_COUNT"),
        (TWO, (ONE_SEALED, sealed_keyring(TWO, ROOT, THIRD)), "BAD_SIGNATURE"),
        (FIRST, (ONE_SEALED, THREE_SEALED), "INCONSISTENT"),
        (FIRST, (THREE_SEALED,), "INCONSISTENT"),
        (FIRST, (TWO_SEALED, ONE_SEALED), "INCONSISTENT"),
        (FIRST, (sealed_keyring(TWO, SECOND),), "SIGNATURE_COUNT"),
        (FIRST, (sealed_keyring(TWO, ROOT),), "VALID"),
        (FIRST, (sealed_keyring(make_keyring(root_key(SECOND), version=2), ROOT),), "SIGNATURE_COUNT"),
        (FIRST, (sealed_keyring(TWO, ROOT, THIRD),), "BAD_SIGNATURE"),
        (FIRST, (seal(state_keyring(TWO).encode()),), "SIGNATURE_COUNT"),
        (FIRST, (seal(statement_of(TWO, subject=OTHER_SUBJECT), ROOT),), "ID_MISMATCH"),
        (FIRST, (seal(statement_of(TWO, predicateType="urn:weos:engine:root-keyring:2"), ROOT),), "SCHEMA_VIOLATION"),
        (FIRST, (seal(json.dumps(json.loads(state_keyring(TWO).encode())).encode(), ROOT, SECOND),), "MALFORMED"),
        (FIRST, (seal(b'{"a":9007199254740993}', ROOT),), "OUT_OF_RANGE"),
        (FIRST, (b" " * (Envelope.MAX_BYTES + 1),), "TOO_LARGE"),
        (FIRST, (json.dumps(json.loads(TWO_SEALED) | {"payloadType": "text/plain"}).encode(),), "UNSUPPORTED_TYPE"),
        (FIRST, (sealed_manifest(),), "SCHEMA_VIOLATION"),
        (FIRST, (sealed_keyring(make_keyring(root_key(ROOT), WEAK, version=2)),), "WEAK_KEY"),
    ],
)
def test_a_keyring_that_does_not_follow_is_refused(trusted: RootKeyring, chain: tuple[bytes, ...], code: str) -> None:
    verified = verify_keyring_chain(trusted, chain)
    assert verified.verdict == code
    assert (verified.document is None) == (code != "VALID")


def test_a_rotation_needs_the_threshold_of_the_keyring_before() -> None:
    following = make_keyring(root_key(THIRD), version=2)
    assert verify_keyring_chain(TWO_OF_TWO, (sealed_keyring(following, ROOT, THIRD),)).verdict == "SIGNATURE_COUNT"
    assert (
        verify_keyring_chain(TWO_OF_TWO, (sealed_keyring(following, ROOT, ROOT, THIRD),)).verdict == "SIGNATURE_COUNT"
    )
    assert verify_keyring_chain(TWO_OF_TWO, (sealed_keyring(following, ROOT, SECOND, THIRD),)).verdict == "VALID"


def test_only_the_first_keyring_stands_without_another() -> None:
    assert read_first_keyring(TWO_SEALED).verdict == "INCONSISTENT"
    assert read_first_keyring(sealed_keyring(FIRST, SECOND)).verdict == "BAD_SIGNATURE"
    assert read_first_keyring(b"{").verdict == "MALFORMED"
