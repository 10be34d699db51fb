"""Attacks on the ledger of a released version, which the root vouches for."""

from typing import Any

from contracts.wire.envelope import Envelope
from supervisor.domain.records.recording import abort_conclusion
from tests.attacks.logs import ENGINE, TRUST, GenuineLog, make_genuine
from tests.attacks.on_logs import Made, attack
from tests.factories import make_signer
from tests.releases import (
    VERSION,
    VERSION_KEY,
    make_keyring,
    make_manifest,
    make_release,
    make_revocation,
    payload_digest,
    root_key,
    sealed_keyring,
    sealed_manifest,
    sealed_revocation,
)

__all__ = ["RELEASED", "ROOTED", "vouched"]


# Released versions, which the root vouches for.

ROOTED = TRUST.model_copy(update={"keys": (), "root": make_keyring()})
RELEASED: dict[str, Any] = {"version": VERSION, "signer": VERSION_KEY, "manifest": make_release().digest}


def vouched(*, manifests: tuple[bytes, ...] | None = None, revocations: tuple[bytes, ...] = ()) -> dict[str, Any]:
    """What the header of a released version's log brings."""
    return {
        "keyrings": (Envelope.parse(sealed_keyring(make_keyring())),),
        "manifests": tuple(map(Envelope.parse, (sealed_manifest(),) if manifests is None else manifests)),
        "revocations": tuple(map(Envelope.parse, revocations)),
    }


@attack("UNTRUSTED_MANIFEST", "releases")
def manifest_of_a_home_made_root() -> Made:
    return make_genuine(**RELEASED).lines(
        **vouched(manifests=(sealed_manifest(make_manifest(), make_signer()),))
    ), ROOTED


@attack("UNTRUSTED_MANIFEST", "statements")
def no_manifest() -> Made:
    return make_genuine(**RELEASED).lines(**vouched(manifests=())), ROOTED


@attack("INCONSISTENT", "releases")
def two_manifests_of_one_version() -> Made:
    other = sealed_manifest(make_manifest(validation="sha256:" + "0" * 64))
    return make_genuine(**RELEASED).lines(**vouched(manifests=(sealed_manifest(), other))), ROOTED


@attack("ROOT_ROLLBACK", "releases")
def keyring_older_than_the_trusted_one() -> Made:
    newer = make_keyring(root_key(make_signer()), version=2)
    return make_genuine(**RELEASED).lines(**vouched()), ROOTED.model_copy(update={"root": newer})


@attack("BAD_SIGNATURE", "releases")
def revocation_that_the_root_did_not_sign() -> Made:
    forged = sealed_revocation(make_revocation(), make_signer())
    return make_genuine(**RELEASED).lines(**vouched(revocations=(forged,))), ROOTED


@attack("REVOKED", "statements")
def record_after_the_revocation_of_its_version() -> Made:
    revoked = sealed_revocation(make_revocation(from_index=7))
    return make_genuine(**RELEASED).lines(**vouched(revocations=(revoked,))), ROOTED


@attack("REVOKED", "statements")
def start_after_the_revocation_of_its_version() -> Made:
    log = make_genuine(**RELEASED)
    log.start(5)
    revoked = sealed_revocation(make_revocation(from_index=8))
    return log.lines(**vouched(revocations=(revoked,))), ROOTED


@attack("OUT_OF_VALIDITY", "statements")
def statements_older_than_their_version() -> Made:
    later = make_manifest(created_at="2026-02-01T00:00:00.000Z")
    manifest = sealed_manifest(later)
    log = make_genuine(**RELEASED | {"manifest": payload_digest(manifest)})
    return log.lines(**vouched(manifests=(manifest,))), ROOTED


@attack("BAD_SIGNATURE", "statements")
def development_key_under_a_released_version() -> Made:
    return make_genuine(**RELEASED | {"signer": ENGINE}).lines(**vouched()), ROOTED


@attack("BAD_SIGNATURE", "statements")
def released_version_without_its_manifest() -> Made:
    return make_genuine(**RELEASED | {"manifest": None}).lines(**vouched()), ROOTED


@attack("ID_MISMATCH", "statements")
def plan_that_the_version_left_behind_could_not_have_made() -> Made:
    policies = {"power.toml": "sha256:" + "0" * 64}
    log = make_genuine(**RELEASED)
    log.start(5, policies=policies)
    after = GenuineLog(entries=log.entries)
    after.end(5, conclusion=abort_conclusion(), policies=policies, engine_version=VERSION)
    return log.lines(**vouched()), ROOTED.model_copy(update={"keys": TRUST.keys})
