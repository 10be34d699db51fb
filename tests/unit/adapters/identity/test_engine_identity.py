"""As which version an installation runs: the release that it is, or a development version, or not at all."""

import logging
from pathlib import Path

import pytest

from contracts.releases.statements import state_revocation
from contracts.verify.trust import Trust
from contracts.wire.envelope import seal
from supervisor.adapters.identity.engine_identity import EngineIdentity, load_identity
from supervisor.adapters.identity.keys import PASSPHRASE_FILE, key_path, make_signer
from supervisor.adapters.identity.trust_file import publish_root
from supervisor.domain.errors import EngineError
from supervisor.release.revoke import RevocationOrder, revoke_release
from tests.release_home import IMAGE, PASSPHRASE, WHEN, ReleaseHome, set_version
from tests.releases import make_keyring, make_revocation, root_key

DEVELOPMENT = r"0\.1\.0\+dev\.[0-9a-f]{12}"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseHome:
    monkeypatch.delenv(PASSPHRASE_FILE, raising=False)
    return ReleaseHome.make(tmp_path)


def identify(made: ReleaseHome) -> EngineIdentity:
    return load_identity(made.home, made.source, made.policies)


def refusal(made: ReleaseHome) -> EngineError:
    with pytest.raises(EngineError) as caught:
        identify(made)
    return caught.value


def revoke(made: ReleaseHome) -> None:
    order = RevocationOrder("0.1.0", "its key was seen elsewhere", 3, made.root, lambda: PASSPHRASE, lambda: WHEN)
    revoke_release(made.store, order)


def test_a_tree_without_a_release_runs_as_a_development_version(made: ReleaseHome) -> None:
    identity = identify(made)
    assert identity.engine_version.startswith("0.1.0+dev.")
    assert (identity.manifest_digest, identity.images) == (None, None)
    trust = Trust.parse(made.home.trust_file.read_bytes())
    assert [key.engine_version for key in trust.keys] == [identity.engine_version]
    assert trust.root is None


def test_a_tree_that_is_a_release_runs_as_that(made: ReleaseHome) -> None:
    release = made.publish()
    identity = identify(made)
    assert identity.engine_version == "0.1.0"
    assert identity.manifest_digest == release.digest
    assert identity.images == {"cpu_avx2": IMAGE}
    assert identity.signer.public_key == release.manifest.public_key
    trust = Trust.parse(made.home.trust_file.read_bytes())
    assert (trust.root, trust.keys) == (made.root.keyring(), ())


def test_a_tree_that_has_gone_on_runs_as_a_development_version(
    made: ReleaseHome, caplog: pytest.LogCaptureFixture
) -> None:
    made.publish()
    (made.source / "supervisor" / "new.py").write_text("")
    with caplog.at_level(logging.WARNING):
        assert identify(made).engine_version.startswith("0.1.0+dev.")
    assert "supervisor/new.py" in caplog.text
    set_version(made.source, "0.1.1")
    assert identify(made).engine_version.startswith("0.1.1+dev.")


def test_a_home_can_be_told_to_run_as_a_development_version(made: ReleaseHome) -> None:
    made.publish()
    made.store.select("development")
    assert identify(made).engine_version.startswith("0.1.0+dev.")
    made.store.select(None)
    assert identify(made).engine_version == "0.1.0"


def test_a_home_that_was_told_to_run_as_a_release_does(made: ReleaseHome) -> None:
    made.publish()
    made.store.select("0.1.0")
    assert identify(made).engine_version == "0.1.0"


def add_to(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n# one line more\n")


@pytest.mark.parametrize(
    "name",
    [
        "policies/power.toml",
        "supervisor/execution/service.py",
        "contracts/schemas/trust.json",
        "runtime-image/runner/main.py",
        "contracts/wire/document.py",
    ],
)
def test_a_changed_file_is_refused_by_its_name_with_both_digests(made: ReleaseHome, name: str) -> None:
    release = made.publish()
    made.store.select("0.1.0")
    add_to(made.source / name)
    error = refusal(made)
    assert error.code == "version_drifted"
    expected = next(file.sha256 for file in release.manifest.source.files if file.path == name)
    assert f"{name}: expected {expected}, found sha256:" in error.detail


def test_a_changed_image_is_refused_by_its_name(made: ReleaseHome) -> None:
    made.publish()
    made.store.select("0.1.0")
    other = "sha256:" + "b" * 64
    made.record_image(image_id=other)
    error = refusal(made)
    assert error.code == "version_drifted"
    assert f"runtime image cpu_avx2: expected {IMAGE}, found {other}" in error.detail


def test_a_changed_list_of_the_images_files_is_refused(made: ReleaseHome) -> None:
    made.publish()
    made.store.select("0.1.0")
    add_to(made.image_files)
    assert "files of runtime image cpu_avx2" in refusal(made).detail
    made.image_files.unlink()
    assert "files of runtime image cpu_avx2" in refusal(made).detail


def test_another_tree_is_refused(made: ReleaseHome) -> None:
    made.publish()
    made.store.select("0.1.0")
    set_version(made.source, "0.2.0")
    assert "version: expected 0.1.0, found 0.2.0" in refusal(made).detail


def test_a_release_that_is_not_there_is_refused(made: ReleaseHome) -> None:
    made.publish()
    made.store.select("0.3.0")
    error = refusal(made)
    assert error.code == "release_unknown"
    assert "there is: 0.1.0" in error.detail


def test_a_revoked_version_does_not_start(made: ReleaseHome, caplog: pytest.LogCaptureFixture) -> None:
    made.publish()
    made.store.select("0.1.0")
    revoke(made)
    error = refusal(made)
    assert error.code == "version_revoked"
    assert "its key was seen elsewhere" in error.detail
    made.store.select(None)
    with caplog.at_level(logging.WARNING):
        assert identify(made).engine_version.startswith("0.1.0+dev.")
    assert "revoked" in caplog.text


def test_a_revocation_that_the_root_did_not_sign_stops_the_start(made: ReleaseHome) -> None:
    release = made.publish()
    revocation = make_revocation(manifest=release.digest)
    made.store.add_revocation("0.1.0", seal(state_revocation(revocation).encode(), make_signer()))
    assert refusal(made).code == "release_unsound"


def test_a_manifest_that_the_root_did_not_sign_stops_the_start(made: ReleaseHome) -> None:
    made.publish(signer=make_signer())
    error = refusal(made)
    assert error.code == "release_unsound"
    assert "UNTRUSTED_MANIFEST" in error.detail


def test_a_release_without_its_key_is_refused_and_never_given_another(made: ReleaseHome) -> None:
    made.publish(keep_key=False)
    assert identify(made).engine_version.startswith("0.1.0+dev.")
    made.store.select("0.1.0")
    assert refusal(made).code == "key_missing"
    assert not key_path(made.home.keys, "0.1.0").exists()


def test_another_key_than_the_manifests_is_refused(made: ReleaseHome) -> None:
    made.publish()
    path = key_path(made.home.keys, "0.1.0")
    path.write_bytes(make_signer().encrypted((made.home.keys / "passphrase").read_bytes().strip()))
    error = refusal(made)
    assert error.code == "key_unsafe"
    assert "not the one that the manifest" in error.detail


def test_a_trust_file_with_another_root_stops_the_start(made: ReleaseHome) -> None:
    made.publish()
    publish_root(made.home.trust_file, make_keyring(root_key(make_signer())))
    error = refusal(made)
    assert error.code == "trust_unsound"
    assert "FORK" in error.detail


def test_the_trust_file_follows_the_root_when_it_is_rotated(made: ReleaseHome) -> None:
    made.publish()
    identify(made)
    made.root.rotate(lambda: PASSPHRASE, WHEN.replace(month=3))
    made.store.add_keyrings(made.root.keyrings())
    assert identify(made).engine_version == "0.1.0"
    root = Trust.parse(made.home.trust_file.read_bytes()).root
    assert root is not None
    assert root.version == 2


def test_a_home_without_its_root_does_not_know_its_releases(made: ReleaseHome) -> None:
    made.publish()
    (made.home.root / "root" / "1.json").unlink()
    assert refusal(made).code == "release_unknown"
