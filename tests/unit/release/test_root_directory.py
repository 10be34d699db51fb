from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.verify.keyring import verify_keyring_chain
from contracts.verify.release import verify_manifest
from contracts.verify.trust import Trust
from contracts.wire.keys import key_fingerprint, load_public_key
from supervisor.domain.errors import EngineError
from supervisor.release.root_directory import RootDirectory
from tests.releases import make_manifest, sealed_manifest

PASSPHRASE = b"a long enough passphrase"
WHEN = datetime(2026, 1, 30, tzinfo=UTC)
LATER = datetime(2026, 2, 1, tzinfo=UTC)


def ask() -> bytes:
    return PASSPHRASE


@pytest.fixture
def root(tmp_path: Path) -> RootDirectory:
    root = RootDirectory(tmp_path / "root")
    root.create(PASSPHRASE, WHEN)
    return root


def test_a_root_key_is_private_encrypted_and_named_by_its_id(root: RootDirectory, tmp_path: Path) -> None:
    (path,) = (tmp_path / "root" / "keys").iterdir()
    assert path.stem == key_fingerprint(load_public_key(root.keyring().keys[0].public_key))
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "root").stat().st_mode & 0o777 == 0o700
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert root.signer(ask).public_key == root.keyring().keys[0].public_key


def test_another_passphrase_does_not_open_the_key(root: RootDirectory) -> None:
    with pytest.raises(EngineError) as caught:
        root.signer(lambda: b"another")
    assert caught.value.code == "passphrase_wrong"


def test_a_trust_file_for_auditors_is_written_beside_the_keys(root: RootDirectory, tmp_path: Path) -> None:
    assert Trust.parse((tmp_path / "root" / "trust.json").read_bytes()).root == root.keyring()
    root.rotate(ask, LATER)
    assert Trust.parse((tmp_path / "root" / "trust.json").read_bytes()).root == root.keyring()


def test_a_root_is_created_only_in_a_new_directory(root: RootDirectory, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        root.create(PASSPHRASE, WHEN)
    assert caught.value.code == "root_exists"
    with pytest.raises(EngineError) as missing:
        RootDirectory(tmp_path / "none").keyring()
    assert missing.value.code == "root_missing"


def test_a_rotated_root_is_trusted_from_the_previous_keyring(root: RootDirectory) -> None:
    first, old = root.keyring(), root.signer(ask)
    second = root.rotate(ask, LATER)
    new = root.signer(ask)
    assert [key.public_key for key in second.keys] == [old.public_key, new.public_key]
    assert verify_keyring_chain(first, root.keyrings()).document == second == root.keyring()
    before = make_manifest(created_at="2026-01-31T00:00:00.000Z")
    after = make_manifest(created_at="2026-02-02T00:00:00.000Z")
    assert verify_manifest(sealed_manifest(before, old), second).verdict == "VALID"
    assert verify_manifest(sealed_manifest(after, old), second).verdict == "OUT_OF_VALIDITY"
    assert verify_manifest(sealed_manifest(after, new), second).verdict == "VALID"
    assert verify_manifest(sealed_manifest(before, new), second).verdict == "OUT_OF_VALIDITY"
    third = root.rotate(ask, LATER.replace(day=3))
    assert [key.valid_until for key in third.keys] == [
        "2026-02-01T00:00:00.000Z",
        "2026-02-03T00:00:00.000Z",
        None,
    ]


def test_a_stolen_key_can_be_left_out(root: RootDirectory) -> None:
    first, old = root.keyring(), root.signer(ask)
    second = root.rotate(ask, LATER, drop_old=True)
    assert verify_keyring_chain(first, root.keyrings()).verdict == "VALID"
    assert len(second.keys) == 1
    before = make_manifest(created_at="2026-01-31T00:00:00.000Z")
    assert verify_manifest(sealed_manifest(before, old), second).verdict == "UNTRUSTED_MANIFEST"
