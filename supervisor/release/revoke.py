"""Revokes a version: the root signs a revocation, which is stored beside the release."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from contracts.releases.manifest import Revocation
from contracts.releases.statements import state_revocation
from contracts.wire.envelope import seal
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.domain.errors import EngineError
from supervisor.domain.records.recording import format_time
from supervisor.release.root_directory import AskPassphrase, RootDirectory

__all__ = ["RevocationOrder", "revoke_release"]


@dataclass(frozen=True, slots=True)
class RevocationOrder:
    """The version to revoke, and the reason."""

    version: str
    reason: str
    from_index: int
    root: RootDirectory
    ask: AskPassphrase
    now: Callable[[], datetime]


def revoke_release(store: ReleaseStore, order: RevocationOrder) -> Revocation:
    """State that a version's records are not valid from an index of the ledger on.

    Raises:
        EngineError: ``release_unknown``, ``release_unsound``, any error of opening the root, or ``version_revoked`` if
            the version is already revoked from the same or an earlier index.
    """
    store.require_root(order.root.keyrings())
    release = store.manifest(order.version)
    known = store.revocation(order.version)
    if known is not None and known.from_index <= order.from_index:
        detail = f"{order.version} is already revoked from index {known.from_index} on; choose an earlier index"
        raise EngineError("version_revoked", detail)
    revocation = Revocation(
        schema_version="weos.revocation/1",
        engine_version=order.version,
        manifest=release.digest,
        reason=order.reason,
        from_index=order.from_index,
        revoked_at=format_time(order.now()),
    )
    data = seal(state_revocation(revocation).encode(), order.root.signer(order.ask))
    store.add_keyrings(order.root.keyrings())
    store.add_revocation(order.version, data)
    return revocation
