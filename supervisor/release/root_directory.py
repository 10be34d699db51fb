"""The root's own directory, outside of any home: its encrypted private keys and its keyrings.

It contains `keys/ID.pem`, where ID is the SHA-256 of the public key, `keyrings/N.json`, and `trust.json`, which can be
given to an auditor by hand. Only the release commands open it.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from contracts.releases.manifest import RootKey, RootKeyring
from contracts.releases.statements import state_keyring
from contracts.wire.envelope import seal
from contracts.wire.keys import key_fingerprint, load_public_key
from supervisor.adapters.files import write_private
from supervisor.adapters.identity.keys import FileSigner, make_signer, read_signer
from supervisor.adapters.identity.release_store import newest_keyring, read_keyrings
from supervisor.adapters.identity.trust_file import publish_root
from supervisor.domain.errors import EngineError
from supervisor.domain.records.recording import format_time

__all__ = ["RootDirectory"]

# Called only when a key is really opened.
AskPassphrase = Callable[[], bytes]


class RootDirectory:
    """The directory of one root."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keyrings(self) -> tuple[bytes, ...]:
        """Return the envelopes of all keyrings, oldest first."""
        return read_keyrings(self._path / "keyrings")

    def keyring(self) -> RootKeyring:
        """Return the newest keyring.

        Raises:
            EngineError: ``root_missing`` or ``root_unsound``.
        """
        keyrings = self.keyrings()
        if not keyrings:
            detail = f"{self._path} contains no root; create a root with: weos-engine release init-root --root-dir DIR"
            raise EngineError("root_missing", detail)
        return newest_keyring(keyrings, self._path)

    def create(self, passphrase: bytes, now: datetime) -> RootKeyring:
        """Create the first key and keyring.

        Raises:
            EngineError: ``root_exists``.
        """
        if self._path.exists() and any(self._path.iterdir()):
            raise EngineError("root_exists", f"{self._path} is not empty; name a new directory")
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        signer, at = make_signer(), format_time(now)
        key = RootKey(public_key=signer.public_key, valid_from=at, valid_until=None)
        keyring = RootKeyring(schema_version="weos.root-keyring/1", version=1, threshold=1, keys=(key,), valid_from=at)
        self._keep_key(signer, passphrase)
        self._keep(keyring, signer)
        return keyring

    def rotate(self, ask: AskPassphrase, now: datetime, *, drop_old: bool = False) -> RootKeyring:
        """Replace the key in use with a new key. The old key signs the new keyring, and nothing afterwards.

        Args:
            ask: returns the passphrase.
            now: current time.
            drop_old: whether to leave the old key out, so that nothing it signed is trusted any more.
        """
        before, old, at = self.keyring(), self.signer(ask), format_time(now)
        signer = make_signer()
        kept = tuple(
            key.model_copy(update={"valid_until": at}) if key.valid_until is None else key for key in before.keys
        )
        key = RootKey(public_key=signer.public_key, valid_from=at, valid_until=None)
        keyring = RootKeyring(
            schema_version="weos.root-keyring/1",
            version=before.version + 1,
            threshold=before.threshold,
            keys=(key,) if drop_old else (*kept, key),
            valid_from=at,
        )
        self._keep_key(signer, ask())
        self._keep(keyring, old, signer)
        return keyring

    def signer(self, ask: AskPassphrase) -> FileSigner:
        """Open the key in use.

        Raises:
            EngineError: ``root_missing``, ``root_unsound``, ``key_missing``, ``key_unsafe`` or ``passphrase_wrong``.
        """
        in_use = [key for key in self.keyring().keys if key.valid_until is None]
        return read_signer(self._key_path(in_use[-1].public_key), ask())

    def _key_path(self, public_key: str) -> Path:
        return self._path / "keys" / f"{key_fingerprint(load_public_key(public_key))}.pem"

    def _keep_key(self, signer: FileSigner, passphrase: bytes) -> None:
        write_private(self._key_path(signer.public_key), signer.encrypted(passphrase))

    def _keep(self, keyring: RootKeyring, *signers: FileSigner) -> None:
        path = self._path / "keyrings" / f"{keyring.version}.json"
        write_private(path, seal(state_keyring(keyring).encode(), *signers))
        publish_root(self._path / "trust.json", keyring)
