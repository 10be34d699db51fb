"""Attacks on what a released version is trusted through: manifest, root keyrings, revocations."""

import base64
import json

from contracts.execution.execution_plan import ExecutionPlan
from contracts.verify.trust import TrustedKey
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import sha256_digest
from tests.attacks.forging import STRANGER, WEAK_KEY, Attempt, attempt_on, logged, revocation_of, sealed, with_trust
from tests.attacks.genuine import FIRST_KEYRING, LATER_MANIFEST, SECOND_KEYRING, SECOND_ROOT, Genuine
from tests.releases import (
    ROOT,
    VERSION,
    VERSION_KEY,
    make_manifest,
    make_revocation,
    root_key,
    sealed_manifest,
    sealed_revocation,
)

__all__ = [
    "another_keyring_of_the_same_number",
    "forged_older_keyring",
    "home_made_manifest",
    "keyrings_without_a_manifest",
    "manifest_by_a_root_key_out_of_use",
    "manifest_in_another_base64",
    "manifest_of_another_version",
    "manifest_that_nobody_names",
    "no_manifest",
    "older_keyring",
    "older_than_its_manifest",
    "plan_of_other_policies",
    "revocation_by_a_stranger",
    "revocation_in_another_base64",
    "revocation_of_another_version",
    "revoked",
    "revoked_as_the_auditor_knows",
    "small_order_key_in_the_manifest",
]


def manifest_that_nobody_names(genuine: Genuine) -> Attempt:
    document = genuine.document
    other = sealed(b"{}", ROOT)
    document["manifest" if document["manifest"] is None else "started_manifest"] = other
    return attempt_on(genuine, document)


def keyrings_without_a_manifest(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["keyrings"] = [sealed(b"{}", ROOT)]
    return attempt_on(genuine, document)


def manifest_in_another_base64(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["started_manifest"] = sealed(b"{}", ROOT) | {"payload": "e30"}
    return attempt_on(genuine, document)


def revocation_of_another_version(genuine: Genuine) -> Attempt:
    document = genuine.document
    other = make_revocation(engine_version="0.9.0")
    document["revocations"] = [json.loads(sealed_revocation(other, ROOT))]
    return attempt_on(genuine, document)


def revocation_in_another_base64(genuine: Genuine) -> Attempt:
    """Where there is no root nothing rests on it, and it is looked at all the same."""
    document = genuine.document
    document["revocations"] = [sealed(b"{}", ROOT) | {"payload": "e30"}]
    key = TrustedKey(engine_version=VERSION, public_key=VERSION_KEY.public_key)
    return attempt_on(genuine, document, trust=with_trust(genuine, root=None, keys=(key,)).trust)


def manifest_of_another_version(genuine: Genuine) -> Attempt:
    document = genuine.document
    manifest = LATER_MANIFEST.model_copy(update={"public_key": genuine.signer.public_key})
    document["manifest"] = json.loads(sealed_manifest(manifest, SECOND_ROOT))
    return attempt_on(genuine, document)


def home_made_manifest(genuine: Genuine) -> Attempt:
    document = genuine.document
    manifest = make_manifest().model_copy(update={"public_key": STRANGER.public_key})
    document["manifest"] = json.loads(sealed_manifest(manifest, STRANGER))
    document["record"] = sealed(canonical_bytes(genuine.payload("record")), STRANGER)
    document["started"] = sealed(canonical_bytes(genuine.payload("started")), STRANGER)
    return logged(genuine, document)


def no_manifest(genuine: Genuine) -> Attempt:
    return attempt_on(genuine, genuine.document | {"manifest": None})


def revoked(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["revocations"] = [json.loads(revocation_of(genuine, genuine.positions[1]))]
    return attempt_on(genuine, document)


def revoked_as_the_auditor_knows(genuine: Genuine) -> Attempt:
    return Attempt(genuine.data, genuine.trust, revocations=(revocation_of(genuine, 0),))


def revocation_by_a_stranger(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["revocations"] = [json.loads(sealed_revocation(make_revocation(from_index=9), STRANGER))]
    return attempt_on(genuine, document)


def older_than_its_manifest(genuine: Genuine) -> Attempt:
    document = genuine.document
    late = make_manifest().model_copy(update={"created_at": "2026-02-02T00:00:00.000Z"})
    document["manifest"] = json.loads(sealed_manifest(late, SECOND_ROOT))
    manifest = sha256_digest(base64.b64decode(document["manifest"]["payload"]))
    for name in ("record", "started"):
        payload = genuine.payload(name)
        payload["predicate"]["manifest"] = manifest
        document[name] = sealed(canonical_bytes(payload), genuine.signer)
    return logged(genuine, document)


def manifest_by_a_root_key_out_of_use(genuine: Genuine) -> Attempt:
    document = genuine.document
    late = make_manifest().model_copy(update={"created_at": "2026-02-02T00:00:00.000Z"})
    document["manifest"] = json.loads(sealed_manifest(late, ROOT))
    return attempt_on(genuine, document)


def older_keyring(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["keyrings"] = document["keyrings"][:1]
    return attempt_on(genuine, document, trust=genuine.trust.model_copy(update={"root": SECOND_KEYRING}))


def another_keyring_of_the_same_number(genuine: Genuine) -> Attempt:
    other = FIRST_KEYRING.model_copy(update={"keys": (root_key(STRANGER),)})
    return with_trust(genuine, root=other)


def forged_older_keyring(genuine: Genuine) -> Attempt:
    document = genuine.document
    payload = base64.b64decode(document["keyrings"][0]["payload"])
    document["keyrings"][0] = sealed(payload, STRANGER)
    return attempt_on(genuine, document, trust=genuine.trust.model_copy(update={"root": SECOND_KEYRING}))


def plan_of_other_policies(genuine: Genuine) -> Attempt:
    document, record, started = genuine.document, genuine.payload("record"), genuine.payload("started")
    record["predicate"]["plan"]["policies"]["power.toml"] = "sha256:" + "0" * 64
    plan = ExecutionPlan.model_validate_json(json.dumps(record["predicate"]["plan"]))
    digest = plan.canonical_digest()
    for payload in (record, started):
        payload["predicate"]["plan_digest"] = digest
        payload["subject"][0]["digest"]["sha256"] = digest.removeprefix("sha256:")
    document["record"] = sealed(canonical_bytes(record), genuine.signer)
    document["started"] = sealed(canonical_bytes(started), genuine.signer)
    return logged(genuine, document)


def small_order_key_in_the_manifest(genuine: Genuine) -> Attempt:
    document = genuine.document
    manifest = make_manifest().model_copy(update={"public_key": WEAK_KEY})
    document["manifest"] = json.loads(sealed_manifest(manifest, ROOT))
    return attempt_on(genuine, document)
