"""Changes that leave a bundle VALID."""

import json

from tests.attacks.forging import (
    STRANGER,
    WITNESS,
    WITNESS_KEY,
    WITNESSED_AT_S,
    Attempt,
    MemoryLog,
    attempt_on,
    cosigned_document,
    revocation_of,
    with_trust,
)
from tests.attacks.genuine import Genuine
from tests.fakes.ledger import make_log

__all__ = [
    "another_ledger_seen_before",
    "cosigned",
    "cosigned_by_somebody",
    "lie_in_the_key_id",
    "other_spelling_of_the_bundle",
    "revoked_later",
    "seen_before",
    "seen_when_it_was_shorter",
]


def lie_in_the_key_id(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["record"]["signatures"][0]["keyid"] = "somebody else"
    return attempt_on(genuine, document)


def other_spelling_of_the_bundle(genuine: Genuine) -> Attempt:
    text = json.dumps(dict(reversed(genuine.document.items())), indent=3)
    return Attempt(text.replace("weos", "\\u0077eos").encode(), genuine.trust)


def revoked_later(genuine: Genuine) -> Attempt:
    document = genuine.document
    document["revocations"] = [json.loads(revocation_of(genuine, genuine.positions[1] + 1))]
    return attempt_on(genuine, document)


def cosigned(genuine: Genuine) -> Attempt:
    document = cosigned_document(genuine, WITNESSED_AT_S, WITNESS_KEY)
    return attempt_on(genuine, document, trust=with_trust(genuine, witnesses=(WITNESS.encode(),)).trust)


def cosigned_by_somebody(genuine: Genuine) -> Attempt:
    return attempt_on(genuine, cosigned_document(genuine, WITNESSED_AT_S, STRANGER))


def seen_before(genuine: Genuine) -> Attempt:
    return with_trust(genuine, checkpoint=MemoryLog(genuine.leaves).checkpoint)


def seen_when_it_was_shorter(genuine: Genuine) -> Attempt:
    return with_trust(genuine, checkpoint=MemoryLog(genuine.leaves[:4]).checkpoint)


def another_ledger_seen_before(genuine: Genuine) -> Attempt:
    return with_trust(genuine, checkpoint=MemoryLog(genuine.leaves, make_log("another")).checkpoint)
