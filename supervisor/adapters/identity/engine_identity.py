"""As which version an installation runs: a released one where it is exactly that, a development version otherwise."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.verify.keyring import verify_keyring_chain
from contracts.verify.release import SignedManifest
from contracts.wire.types import Digest
from supervisor.adapters.home import Home
from supervisor.adapters.identity.content import read_content
from supervisor.adapters.identity.engine_version import development_version, release_version
from supervisor.adapters.identity.keys import FileSigner, engine_passphrase, key_path, load_signer, read_signer
from supervisor.adapters.identity.release_store import DEVELOPMENT, ReleaseStore
from supervisor.adapters.identity.trust_file import publish_key, publish_root, read_trust
from supervisor.domain.errors import EngineError
from supervisor.domain.records.versions import describe_drift, find_drift

__all__ = ["EngineIdentity", "load_identity"]

_log = logging.getLogger(__name__)

TO_DEVELOP = "to run this tree as a development version: weos-engine release select development"


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """Who makes the records."""

    engine_version: str
    signer: FileSigner
    manifest_digest: Digest | None
    """Digest of the version's manifest; None for a development version, which has none."""
    images: Mapping[str, Digest] | None
    """Runtime images that belong to the version, by backend; None: those made from this source."""


def load_identity(home: Home, source_root: Path, policies: Mapping[str, Digest]) -> EngineIdentity:
    """Find out as which version this installation runs, open its key, and publish whom to trust.

    A home that was told to run as a released version runs as that or not at all. One that was told nothing runs as the
    release that the source says it is, where there is one and nothing differs from its manifest.

    Args:
        home: the installation.
        source_root: the source tree.
        policies: digests of the policies in force, by file name.

    Raises:
        EngineError: ``version_drifted``, ``version_revoked``, ``release_unknown``, ``release_unsound``,
            ``root_unsound``, ``key_missing``, ``key_unsafe``, ``passphrase_wrong`` or ``trust_unsound``.
    """
    store = ReleaseStore(home.root)
    selected = store.selected()
    if selected is not None and selected != DEVELOPMENT:
        return _require_release(home, source_root, policies, store.manifest(selected))
    version = release_version(source_root)
    if selected is None and version in store.versions():
        found = _try_release(home, source_root, policies, store.manifest(version))
        if found is not None:
            return found
    return _identify_development(home, source_root)


def _identify_development(home: Home, source_root: Path) -> EngineIdentity:
    version = development_version(source_root)
    signer = load_signer(home.keys, version)
    publish_key(home.trust_file, version, signer.public_key)
    return EngineIdentity(version, signer, None, None)


def _find_obstacle(
    home: Home, source_root: Path, policies: Mapping[str, Digest], release: SignedManifest
) -> EngineError | None:
    version = release.manifest.engine_version
    revocation = ReleaseStore(home.root).revocation(version)
    if revocation is not None:
        return EngineError("version_revoked", f"{version} was revoked ({revocation.reason}); {TO_DEVELOP}")
    drifts = find_drift(release.manifest, read_content(home.root, source_root, policies))
    if drifts:
        detail = f"this installation is not {version}: {describe_drift(drifts)}; restore it, or {TO_DEVELOP}"
        return EngineError("version_drifted", detail)
    if not key_path(home.keys, version).is_file():
        detail = f"the key of {version} is not in {home.keys}; put it there, or {TO_DEVELOP}"
        return EngineError("key_missing", detail)
    return None


def _require_release(
    home: Home, source_root: Path, policies: Mapping[str, Digest], release: SignedManifest
) -> EngineIdentity:
    obstacle = _find_obstacle(home, source_root, policies, release)
    if obstacle is not None:
        raise obstacle
    return _identify_release(home, release)


def _try_release(
    home: Home, source_root: Path, policies: Mapping[str, Digest], release: SignedManifest
) -> EngineIdentity | None:
    obstacle = _find_obstacle(home, source_root, policies, release)
    if obstacle is not None:
        _log.warning("running as a development version: %s", obstacle.detail)
        return None
    return _identify_release(home, release)


def _identify_release(home: Home, release: SignedManifest) -> EngineIdentity:
    manifest = release.manifest
    signer = read_signer(key_path(home.keys, manifest.engine_version), engine_passphrase(home.keys))
    if signer.public_key != manifest.public_key:
        detail = f"the key in {home.keys} is not the one that the manifest of {manifest.engine_version} names"
        raise EngineError("key_unsafe", detail)
    _publish_root(home)
    images = {image.backend: image.image for image in manifest.images}
    return EngineIdentity(manifest.engine_version, signer, release.digest, images)


def _publish_root(home: Home) -> None:
    store = ReleaseStore(home.root)
    trusted, keyring = read_trust(home.trust_file).root, store.keyring()
    if keyring is None:
        raise EngineError("root_unsound", f"{home.root} has no root keyring")
    if trusted is not None:
        chain = verify_keyring_chain(trusted, store.keyrings())
        if chain.document is None:
            failed = chain.checks[-1]
            detail = f"{home.trust_file} trusts another root than this home's: {failed.code}: {failed.message}"
            raise EngineError("trust_unsound", detail)
    publish_root(home.trust_file, keyring)
