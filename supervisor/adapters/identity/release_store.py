"""The releases that a home knows: manifests, reports, revocations, and the root keyrings that they are held against.

`root/N.json` are the keyrings, `releases/VERSION/` holds `manifest.json`, `validation.json`, `comparison.json`, what
the reports name, and `revocation.json` where there is one. All of it is public. `releases/selected` says as which
version this home should run as.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.releases.manifest import Revocation, RootKeyring, version_order
from contracts.verify.keyring import read_first_keyring, verify_keyring_chain
from contracts.verify.release import SignedManifest, verify_manifest, verify_revocation
from contracts.verify.speaker import ReleaseEvidence
from supervisor.adapters.files import PUBLIC, sync_directory, write_public
from supervisor.domain.errors import EngineError

__all__ = ["DEVELOPMENT", "VERSION", "ReleaseStore", "newest_keyring", "read_keyrings"]

DEVELOPMENT = "development"
VERSION = re.compile(r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}")


def read_keyrings(directory: Path) -> tuple[bytes, ...]:
    """Return the envelopes `1.json`, `2.json` and so on of a directory, oldest first."""
    found = sorted(directory.glob("*.json"), key=lambda path: (len(path.name), path.name))
    return tuple(path.read_bytes() for path in found)


def newest_keyring(keyrings: tuple[bytes, ...], place: Path) -> RootKeyring:
    """Return the newest of some keyrings, after following them from the first.

    Raises:
        EngineError: ``root_unsound``.
    """
    first = read_first_keyring(keyrings[0])
    chain = first if first.document is None else verify_keyring_chain(first.document, keyrings)
    if chain.document is None:
        failed = chain.checks[-1]
        detail = f"the root keyrings in {place} are not sound: {failed.name}: {failed.code}: {failed.message}"
        raise EngineError("root_unsound", detail)
    return chain.document


class ReleaseStore:
    """Files of one home; verifies every document that it returns."""

    def __init__(self, home: Path) -> None:
        self._root = home / "root"
        self._releases = home / "releases"

    def keyrings(self) -> tuple[bytes, ...]:
        """Return the envelopes of the root keyrings, oldest first; none where the home has no root."""
        return read_keyrings(self._root)

    def keyring(self) -> RootKeyring | None:
        """Return the newest root keyring, None where the home has no root.

        Raises:
            EngineError: ``root_unsound``, the keyrings do not lead from the first to the newest.
        """
        keyrings = self.keyrings()
        return newest_keyring(keyrings, self._root) if keyrings else None

    def add_keyrings(self, keyrings: tuple[bytes, ...]) -> None:
        """Keep the envelopes of keyrings 1, 2 and so on.

        Raises:
            EngineError: ``root_unsound``, they are not the home's own and what follows on them.
        """
        known = self.keyrings()
        self.require_root(keyrings)
        for number, data in enumerate(keyrings, 1):
            if number > len(known):
                write_public(self._root / f"{number}.json", data)

    def require_root(self, keyrings: tuple[bytes, ...]) -> None:
        """Make sure that keyrings are the home's own, and perhaps some more.

        Raises:
            EngineError: ``root_unsound``.
        """
        known = self.keyrings()
        if keyrings[: len(known)] != known:
            detail = f"{self._root} holds other root keyrings, or newer ones; a home has one root"
            raise EngineError("root_unsound", detail)

    def versions(self) -> tuple[str, ...]:
        """Return the versions that have a manifest here, oldest first."""
        names = (path.parent.name for path in self._releases.glob("*/manifest.json"))
        return tuple(sorted((name for name in names if VERSION.fullmatch(name)), key=version_order))

    def read(self, version: str, name: str) -> bytes | None:
        """Return a file of a release, None where it has none of that name."""
        path = self._releases / version / name
        return path.read_bytes() if VERSION.fullmatch(version) and path.is_file() else None

    def manifest(self, version: str) -> SignedManifest:
        """Return the verified manifest of a version.

        Raises:
            EngineError: ``release_unknown``; ``release_unsound``, it is not what the root signed.
        """
        data, keyring = self.read(version, "manifest.json"), self.keyring()
        if data is None or keyring is None:
            known = ", ".join(self.versions()) or "none"
            raise EngineError("release_unknown", f"{version} is not released in this home (there is: {known})")
        verified = verify_manifest(data, keyring)
        if verified.document is None:
            failed = verified.checks[-1]
            detail = f"the manifest of {version} is refused: {failed.name}: {failed.code}: {failed.message}"
            raise EngineError("release_unsound", detail)
        if verified.document.manifest.engine_version != version:
            other = verified.document.manifest.engine_version
            raise EngineError("release_unsound", f"the manifest in the place of {version} is that of {other}")
        return verified.document

    def revocation(self, version: str) -> Revocation | None:
        """Return the verified revocation of a version, None where it is not revoked.

        Raises:
            EngineError: ``release_unsound``, there is one that the root did not sign.
        """
        data, keyring = self.read(version, "revocation.json"), self.keyring()
        if data is None:
            return None
        verified = None if keyring is None else verify_revocation(data, keyring)
        if verified is None or verified.document is None:
            raise EngineError("release_unsound", f"the revocation of {version} is not signed by this home's root")
        return verified.document

    def evidence(self, version: str) -> ReleaseEvidence:
        """Return what an auditor needs beside a record of a version, as envelopes; nothing is verified here."""
        revocation = self.read(version, "revocation.json")
        return ReleaseEvidence(
            manifest=self.read(version, "manifest.json"),
            keyrings=self.keyrings(),
            revocations=() if revocation is None else (revocation,),
        )

    def add_revocation(self, version: str, data: bytes) -> None:
        """Keep the envelope of a revocation."""
        write_public(self._releases / version / "revocation.json", data)

    @contextmanager
    def staged(self, version: str) -> Iterator[Path]:
        """Give a directory to fill; it becomes the release if the block ends well, and is gone if not."""
        self._releases.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=self._releases))
        try:
            yield directory
            for path in directory.rglob("*"):
                path.chmod(PUBLIC if path.is_file() else 0o755)
            directory.chmod(0o755)
            sync_directory(directory)
            directory.rename(self._releases / version)
            sync_directory(self._releases)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def selected(self) -> str | None:
        """Return the version that this home is meant to run as, ``development``, or None where nothing was said.

        Raises:
            EngineError: ``release_unknown``, the file holds something else.
        """
        path = self._releases / "selected"
        if not path.is_file():
            return None
        name = path.read_text(encoding="ascii", errors="replace").strip()
        if name != DEVELOPMENT and not VERSION.fullmatch(name):
            detail = f"{path} names no version; write it again with: weos-engine release select VERSION"
            raise EngineError("release_unknown", detail)
        return name

    def select(self, name: str | None) -> None:
        """Record the version that this home should run as; None removes the choice."""
        if name is None:
            (self._releases / "selected").unlink(missing_ok=True)
        else:
            write_public(self._releases / "selected", name.encode("ascii") + b"\n")
