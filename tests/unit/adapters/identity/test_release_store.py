from pathlib import Path

import pytest

from contracts.releases.statements import state_revocation
from contracts.wire.envelope import seal
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.domain.errors import EngineError
from tests.factories import make_signer
from tests.releases import (
    ROOT,
    make_keyring,
    make_manifest,
    make_release,
    make_revocation,
    root_key,
    sealed_keyring,
    sealed_manifest,
    sealed_revocation,
)

SECOND = make_signer()
ONE = sealed_keyring(make_keyring())
TWO = sealed_keyring(make_keyring(root_key(ROOT), root_key(SECOND), version=2), ROOT, SECOND)


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path)


def publish(store: ReleaseStore, version: str, manifest: bytes | None = None) -> None:
    with store.staged(version) as directory:
        (directory / "manifest.json").write_bytes(manifest or sealed_manifest(make_manifest(engine_version=version)))


def test_keyrings_are_kept_in_order_and_only_added_to(store: ReleaseStore) -> None:
    assert (store.keyrings(), store.keyring()) == ((), None)
    store.add_keyrings((ONE,))
    store.add_keyrings((ONE, TWO))
    assert store.keyrings() == (ONE, TWO)
    keyring = store.keyring()
    assert keyring is not None
    assert keyring.version == 2
    for others in ((ONE,), (TWO,), (sealed_keyring(make_keyring(root_key(SECOND)), SECOND),)):
        with pytest.raises(EngineError) as caught:
            store.add_keyrings(others)
        assert caught.value.code == "root_unsound"


def test_ten_keyrings_come_in_the_order_of_their_numbers(store: ReleaseStore) -> None:
    many = tuple(sealed_keyring(make_keyring(version=number)) for number in range(1, 12))
    store.add_keyrings(many)
    assert store.keyrings() == many


@pytest.mark.parametrize("keyrings", [(TWO,), (ONE, ONE), (sealed_keyring(make_keyring(), SECOND),)])
def test_keyrings_that_do_not_lead_to_each_other_are_refused(store: ReleaseStore, keyrings: tuple[bytes, ...]) -> None:
    store.add_keyrings(keyrings)
    with pytest.raises(EngineError) as caught:
        store.keyring()
    assert caught.value.code == "root_unsound"


def test_a_release_is_whole_or_not_there(store: ReleaseStore, tmp_path: Path) -> None:
    def fill_half() -> None:
        with store.staged("0.1.0") as directory:
            (directory / "manifest.json").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill_half()
    assert list((tmp_path / "releases").iterdir()) == []
    publish(store, "0.1.0")
    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["0.1.0"]
    with pytest.raises(OSError, match="not empty"):
        publish(store, "0.1.0")


def test_releases_are_listed_by_their_numbers(store: ReleaseStore, tmp_path: Path) -> None:
    for version in ("0.10.0", "0.9.0", "0.1.0"):
        publish(store, version)
    (tmp_path / "releases" / "notes").mkdir()
    (tmp_path / "releases" / "notes" / "manifest.json").write_text("{}")
    assert store.versions() == ("0.1.0", "0.9.0", "0.10.0")


def test_a_manifest_is_given_out_only_when_the_root_signed_it(store: ReleaseStore) -> None:
    with pytest.raises(EngineError, match="not released in this home"):
        store.manifest("0.1.0")
    store.add_keyrings((ONE,))
    publish(store, "0.1.0")
    assert store.manifest("0.1.0") == make_release()
    publish(store, "0.2.0")
    publish(store, "0.3.0", sealed_manifest(make_manifest(engine_version="0.3.0"), SECOND))
    publish(store, "0.4.0", sealed_manifest(make_manifest(engine_version="0.5.0")))
    for version, message in (("0.3.0", "UNTRUSTED_MANIFEST"), ("0.4.0", "is that of 0.5.0")):
        with pytest.raises(EngineError, match=message) as caught:
            store.manifest(version)
        assert caught.value.code == "release_unsound"


def test_only_versions_are_looked_for(store: ReleaseStore, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(sealed_manifest())
    (tmp_path / "releases").mkdir()
    assert store.read("..", "manifest.json") is None


def test_a_revocation_is_given_out_only_when_the_root_signed_it(store: ReleaseStore) -> None:
    store.add_keyrings((ONE,))
    publish(store, "0.1.0")
    assert store.revocation("0.1.0") is None
    store.add_revocation("0.1.0", sealed_revocation())
    assert store.revocation("0.1.0") == make_revocation()
    store.add_revocation("0.1.0", seal(state_revocation(make_revocation()).encode(), SECOND))
    with pytest.raises(EngineError) as caught:
        store.revocation("0.1.0")
    assert caught.value.code == "release_unsound"


def test_an_auditor_gets_manifest_keyrings_and_revocation_as_they_lie(store: ReleaseStore) -> None:
    assert store.evidence("0.1.0").manifest is None
    store.add_keyrings((ONE,))
    publish(store, "0.1.0")
    assert store.evidence("0.1.0").revocations == ()
    store.add_revocation("0.1.0", sealed_revocation())
    evidence = store.evidence("0.1.0")
    assert evidence.manifest == sealed_manifest()
    assert (evidence.keyrings, evidence.revocations) == ((ONE,), (sealed_revocation(),))


def test_a_selection_is_a_version_or_development(store: ReleaseStore, tmp_path: Path) -> None:
    assert store.selected() is None
    for name in ("0.1.0", "development"):
        store.select(name)
        assert store.selected() == name
    store.select(None)
    assert store.selected() is None
    (tmp_path / "releases" / "selected").write_text("../0.1.0")
    with pytest.raises(EngineError) as caught:
        store.selected()
    assert caught.value.code == "release_unknown"
