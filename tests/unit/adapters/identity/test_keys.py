from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from contracts.verify.trust import Trust
from supervisor.adapters.files import write_private
from supervisor.adapters.identity.keys import (
    PASSPHRASE_FILE,
    engine_passphrase,
    key_path,
    load_signer,
    make_signer,
    read_passphrase,
    read_signer,
)
from supervisor.adapters.identity.trust_file import publish_key, publish_log, publish_root, read_trust
from supervisor.domain.errors import EngineError
from tests.releases import ROOT, make_keyring, root_key

VERSION = "0.1.0+dev.0123456789ab"
PASSPHRASE = b"correct horse"


@pytest.fixture(autouse=True)
def _no_named_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE_FILE, raising=False)


def pem(key: Ed25519PrivateKey | X25519PrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def test_one_version_has_one_key(tmp_path: Path) -> None:
    first = load_signer(tmp_path / "keys", VERSION)
    again = load_signer(tmp_path / "keys", VERSION)
    other = load_signer(tmp_path / "keys", "0.1.0+dev.ba9876543210")
    assert first.public_key == again.public_key != other.public_key
    for path in (tmp_path / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_encrypted_in_its_file(tmp_path: Path) -> None:
    load_signer(tmp_path, VERSION)
    assert key_path(tmp_path, VERSION).read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_a_named_passphrase_file_opens_the_keys_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "elsewhere"
    write_private(named, PASSPHRASE + b"\r\nsecond line\n")
    monkeypatch.setenv(PASSPHRASE_FILE, str(named))
    signer = load_signer(tmp_path / "keys", VERSION)
    assert not (tmp_path / "keys" / "passphrase").exists()
    assert read_signer(key_path(tmp_path / "keys", VERSION), PASSPHRASE).public_key == signer.public_key
    monkeypatch.delenv(PASSPHRASE_FILE)
    with pytest.raises(EngineError) as caught:
        load_signer(tmp_path / "keys", VERSION)
    assert caught.value.code == "passphrase_wrong"


def test_the_passphrase_beside_the_keys_is_made_once_and_private(tmp_path: Path) -> None:
    first = engine_passphrase(tmp_path / "keys")
    assert len(first) >= 40
    assert engine_passphrase(tmp_path / "keys") == first
    assert (tmp_path / "keys" / "passphrase").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [(b"\nsecret\n", 0o600, "empty first line"), (b"secret\n", 0o644, "chmod 600"), (None, 0, "cannot be read")],
)
def test_an_unsound_passphrase_file_is_refused(tmp_path: Path, content: bytes | None, mode: int, message: str) -> None:
    path = tmp_path / "passphrase"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(EngineError, match=message):
        read_passphrase(path)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"nonsense", 0o600, "not a private key"),
        (pem(X25519PrivateKey.generate(), BestAvailableEncryption(PASSPHRASE)), 0o600, "not an Ed25519 key"),
        (pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"another")), 0o600, "its passphrase is another"),
        (pem(X25519PrivateKey.generate()), 0o600, "is not encrypted"),
        (b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n", 0o600, "not a private key"),
        (pem(Ed25519PrivateKey.generate()), 0o640, "chmod 600"),
    ],
)
def test_an_unsound_key_is_refused(tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    write_private(tmp_path / "passphrase", PASSPHRASE)
    path = key_path(tmp_path, "0.1.0")
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(EngineError, match=message):
        load_signer(tmp_path, "0.1.0")


def test_a_released_versions_key_is_never_made_up(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        read_signer(key_path(tmp_path, "0.1.0"), PASSPHRASE)
    assert caught.value.code == "key_missing"
    write_private(key_path(tmp_path, "0.1.0"), pem(Ed25519PrivateKey.generate()))
    with pytest.raises(EngineError, match="not encrypted"):
        read_signer(key_path(tmp_path, "0.1.0"), PASSPHRASE)


class TestTrustFile:
    def test_it_grows_by_version(self, tmp_path: Path) -> None:
        trust_file = tmp_path / "trust.json"
        one, two = make_signer().public_key, make_signer().public_key
        publish_key(trust_file, "0.1.0", one)
        publish_key(trust_file, "0.1.0", one)
        publish_key(trust_file, "0.2.0", two)
        assert [key.engine_version for key in Trust.parse(trust_file.read_bytes()).keys] == ["0.1.0", "0.2.0"]
        with pytest.raises(EngineError, match="one version has one key"):
            publish_key(trust_file, "0.2.0", one)

    def test_what_is_no_trust_file_is_refused(self, tmp_path: Path) -> None:
        trust_file = tmp_path / "trust.json"
        trust_file.write_text("[]")
        with pytest.raises(EngineError, match="not a trust file"):
            publish_key(trust_file, "0.3.0", make_signer().public_key)

    def test_a_root_and_a_log_stand_beside_the_keys(self, tmp_path: Path) -> None:
        trust_file = tmp_path / "trust.json"
        log = "weos-engine/ledger/0123+00000000+" + "A" * 44
        publish_key(trust_file, VERSION, ROOT.public_key)
        publish_root(trust_file, make_keyring())
        publish_log(trust_file, log)
        publish_log(trust_file, log)
        written = trust_file.stat().st_mtime_ns
        publish_root(trust_file, make_keyring())
        assert trust_file.stat().st_mtime_ns == written
        newer = make_keyring(root_key(ROOT), version=2)
        publish_root(trust_file, newer)
        trust = read_trust(trust_file)
        assert (trust.root, trust.logs, len(trust.keys)) == (newer, (log,), 1)
        assert trust_file.stat().st_mode & 0o777 == 0o644
