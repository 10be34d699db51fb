"""Private keys in files: PKCS#8, encrypted, readable by their owner only, one key for one engine version."""

import os
import re
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from contracts.wire.keys import encode_public_key, key_fingerprint
from supervisor.adapters.files import write_private
from supervisor.domain.errors import EngineError

__all__ = [
    "PASSPHRASE_FILE",
    "FileSigner",
    "engine_passphrase",
    "key_path",
    "load_signer",
    "make_signer",
    "read_passphrase",
    "read_signer",
]

OTHERS = 0o077
# Names the file whose first line opens the engine's keys. Without it, a file beside the keys opens them.
PASSPHRASE_FILE = "WEOS_KEY_PASSPHRASE_FILE"  # noqa: S105 - a name
PASSPHRASE_BYTES_MAX = 1024


class FileSigner:
    """Holds one private key in memory; see ``contracts.wire.envelope.Signer``."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> str:
        """SubjectPublicKeyInfo in base64."""
        return encode_public_key(self._key.public_key())

    @property
    def key(self) -> Ed25519PublicKey:
        """The public key."""
        return self._key.public_key()

    @property
    def key_id(self) -> str:
        """Hexadecimal SHA-256 of the SubjectPublicKeyInfo."""
        return key_fingerprint(self.key)

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature (64 bytes) of ``data``."""
        return self._key.sign(data)

    def encrypted(self, passphrase: bytes) -> bytes:
        """Return the key in PKCS#8, encrypted, in PEM."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def make_signer() -> FileSigner:
    """Return a new key."""
    return FileSigner(Ed25519PrivateKey.generate())


def _require_private(path: Path) -> None:
    if path.stat().st_mode & OTHERS:
        raise EngineError("key_unsafe", f"others may read {path}; set it right with: chmod 600 {path}")


def read_passphrase(path: Path) -> bytes:
    """Return the first line of a file that only its owner may read.

    Raises:
        EngineError: ``key_unsafe``, it is missing, empty, or others may read it.
    """
    try:
        _require_private(path)
        with path.open("rb") as file:
            passphrase = file.readline(PASSPHRASE_BYTES_MAX).rstrip(b"\r\n")
    except OSError as error:
        raise EngineError("key_unsafe", f"the passphrase file {path} cannot be read ({error.strerror})") from error
    if not passphrase:
        raise EngineError("key_unsafe", f"the passphrase file {path} has an empty first line")
    return passphrase


def engine_passphrase(directory: Path) -> bytes:
    """Return what opens the keys of a directory: the file named by ``WEOS_KEY_PASSPHRASE_FILE``, or one beside them.

    The one beside them is made at first need, since a supervisor has to start without a person. It keeps a key file
    that is copied alone from being of use. It does not stop a person who can read the whole directory.

    Raises:
        EngineError: ``key_unsafe``.
    """
    named = os.environ.get(PASSPHRASE_FILE)
    if named:
        return read_passphrase(Path(named))
    path = directory / "passphrase"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode("ascii") + b"\n")
    return read_passphrase(path)


def key_path(directory: Path, engine_version: str) -> Path:
    """Return where the key of a version lies."""
    return directory / f"{re.sub(r'[^0-9a-z.+]', '_', engine_version)}.pem"


def read_signer(path: Path, passphrase: bytes) -> FileSigner:
    """Open an encrypted key.

    Raises:
        EngineError: ``key_missing``; ``key_unsafe``: others may read it, it is not encrypted, or not an Ed25519 key;
            ``passphrase_wrong``.
    """
    if not path.is_file():
        raise EngineError("key_missing", f"there is no key {path}")
    _require_private(path)
    try:
        loaded = load_pem_private_key(path.read_bytes(), password=passphrase)
    except TypeError as error:
        raise EngineError("key_unsafe", f"{path} is not encrypted") from error
    except ValueError as error:
        detail = f"{path} is not a private key, or its passphrase is another one"
        raise EngineError("passphrase_wrong", detail) from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise EngineError("key_unsafe", f"{path} is not an Ed25519 key; move it away to get a new one")
    return FileSigner(loaded)


def load_signer(directory: Path, engine_version: str) -> FileSigner:
    """Load the key of one development version, or make it where there is none.

    Raises:
        EngineError: ``key_unsafe`` or ``passphrase_wrong``.
    """
    path = key_path(directory, engine_version)
    passphrase = engine_passphrase(directory)
    if not path.exists():
        write_private(path, make_signer().encrypted(passphrase))
    return read_signer(path, passphrase)
