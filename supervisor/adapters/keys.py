"""The engine version's signing key, made at first start and readable by its owner only."""

import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from contracts.base import ContractError
from contracts.trust import Trust, TrustedKey, encode_public_key, key_fingerprint
from supervisor.adapters.files import write_private
from supervisor.domain.errors import EngineError

__all__ = ["FileSigner", "load_signer", "publish_key", "publish_log"]

OWNER_ONLY = 0o077


class FileSigner:
    """Holds one private key in memory; see ``contracts.envelope.Signer``."""

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


def load_signer(directory: Path, engine_version: str) -> FileSigner:
    """Load the key of one engine version, or make it where there is none.

    Raises:
        EngineError: ``key_unsafe``, the file is no Ed25519 key or others may read it.
    """
    path = directory / f"{re.sub(r'[^0-9a-z.+]', '_', engine_version)}.pem"
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if path.stat().st_mode & OWNER_ONLY:
        raise EngineError("key_unsafe", f"others may read {path}; set it right with: chmod 600 {path}")
    try:
        loaded = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise EngineError("key_unsafe", f"{path} is not a private key; move it away to get a new one") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise EngineError("key_unsafe", f"{path} is not an Ed25519 key; move it away to get a new one")
    return FileSigner(loaded)


def publish_key(trust_file: Path, engine_version: str, public_key: str) -> None:
    """Add the key to this home's own trust file, so that records made here verify here without ceremony.

    Raises:
        EngineError: ``trust_unsound``, the file names another key for this version or cannot be read.
    """
    trust = _read_trust(trust_file)
    entry = TrustedKey(engine_version=engine_version, public_key=public_key)
    if entry in trust.keys:
        return
    if any(other.engine_version == engine_version for other in trust.keys):
        detail = f"{trust_file} names another key for {engine_version}; one version has one key"
        raise EngineError("trust_unsound", detail)
    _write_trust(trust_file, trust.model_copy(update={"keys": (*trust.keys, entry)}))


def publish_log(trust_file: Path, verifier_key: str) -> None:
    """Add this home's ledger to its trust file.

    Raises:
        EngineError: ``trust_unsound``, the file cannot be read.
    """
    trust = _read_trust(trust_file)
    if verifier_key not in trust.logs:
        _write_trust(trust_file, trust.model_copy(update={"logs": (*trust.logs, verifier_key)}))


def _read_trust(trust_file: Path) -> Trust:
    if not trust_file.exists():
        return Trust(schema_version="weos.trust/1", keys=())
    try:
        return Trust.parse(trust_file.read_bytes())
    except ContractError as error:
        raise EngineError("trust_unsound", f"{trust_file} is not a trust file: {error}") from error


def _write_trust(trust_file: Path, trust: Trust) -> None:
    write_private(trust_file, trust.model_dump_json(indent=2, exclude_none=True).encode("utf-8") + b"\n")
    trust_file.chmod(0o644)
