"""The home's own trust file, so that records made here verify here without ceremony."""

import json
from pathlib import Path

from contracts.releases.manifest import RootKeyring
from contracts.verify.trust import Trust, TrustedKey
from contracts.wire.errors import ContractError
from supervisor.adapters.files import write_public
from supervisor.domain.errors import EngineError

__all__ = ["publish_key", "publish_log", "publish_root", "read_trust"]


def read_trust(trust_file: Path) -> Trust:
    """Return the trust; an empty one where there is no file.

    Raises:
        EngineError: ``trust_unsound``, it cannot be read.
    """
    if not trust_file.exists():
        return Trust(schema_version="weos.trust/1", keys=())
    try:
        return Trust.parse(trust_file.read_bytes())
    except ContractError as error:
        raise EngineError("trust_unsound", f"{trust_file} is not a trust file: {error}") from error


def _write(trust_file: Path, trust: Trust) -> None:
    document = {name: value for name, value in trust.model_dump(mode="json").items() if value is not None}
    write_public(trust_file, json.dumps(document, indent=2).encode("utf-8") + b"\n")


def publish_key(trust_file: Path, engine_version: str, public_key: str) -> None:
    """Add the key of a development version.

    Raises:
        EngineError: ``trust_unsound``, the file names another key for this version or cannot be read.
    """
    trust = read_trust(trust_file)
    entry = TrustedKey(engine_version=engine_version, public_key=public_key)
    if entry in trust.keys:
        return
    if any(other.engine_version == engine_version for other in trust.keys):
        detail = f"{trust_file} names another key for {engine_version}; one version has one key"
        raise EngineError("trust_unsound", detail)
    _write(trust_file, trust.model_copy(update={"keys": (*trust.keys, entry)}))


def publish_log(trust_file: Path, verifier_key: str) -> None:
    """Add this home's ledger.

    Raises:
        EngineError: ``trust_unsound``, the file cannot be read.
    """
    trust = read_trust(trust_file)
    if verifier_key not in trust.logs:
        _write(trust_file, trust.model_copy(update={"logs": (*trust.logs, verifier_key)}))


def publish_root(trust_file: Path, keyring: RootKeyring) -> None:
    """Put a root keyring in the place of the one before; the caller has verified that it follows on it.

    Raises:
        EngineError: ``trust_unsound``, the file cannot be read.
    """
    trust = read_trust(trust_file)
    if trust.root != keyring:
        _write(trust_file, trust.model_copy(update={"root": keyring}))
