"""The tools of attacks: attempts, an attacker's own ledgers, and documents that are signed again."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contracts.ledger.merkle import hash_leaf, new_nodes, prove_inclusion, root_of
from contracts.ledger.note import cosign, sign_note, verifier_of
from contracts.ledger.proof import Checkpoint, InclusionProof, LeafKind, build_leaf
from contracts.verify.trust import Trust
from contracts.wire.canonical import canonical_bytes
from contracts.wire.envelope import Envelope, seal
from supervisor.adapters.identity.keys import FileSigner
from supervisor.adapters.ledger.log_identity import LogIdentity
from tests.attacks.genuine import LOG, Genuine
from tests.factories import make_signer
from tests.releases import ROOT, make_revocation, sealed_revocation

__all__ = [
    "STRANGER",
    "WEAK_KEY",
    "WITNESS",
    "WITNESSED_AT_S",
    "WITNESS_KEY",
    "Attack",
    "Attempt",
    "MemoryLog",
    "attempt_on",
    "cosigned_document",
    "cosigned_proof",
    "flip_base64",
    "lie",
    "logged",
    "replaced_in",
    "respelled",
    "revocation_of",
    "sealed",
    "with_trust",
]

STRANGER = make_signer()
WITNESS_KEY = make_signer()
WITNESS = verifier_of("witness.example", WITNESS_KEY.key, witness=True)
# SubjectPublicKeyInfo of the identity point.
WEAK_KEY = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
WITNESSED_AT_S = 1_780_000_000


@dataclass(frozen=True)
class Attempt:
    """What the auditor is handed, and what they hold against it."""

    data: bytes
    trust: Trust
    nonce: str | None = None
    revocations: tuple[bytes, ...] = ()


Attack = Callable[[Genuine], Attempt]


def attempt_on(genuine: Genuine, document: dict[str, Any], **changes: Any) -> Attempt:
    """Return an attempt with a changed document, held against the genuine one's trust."""
    return replace(Attempt(canonical_bytes(document), genuine.trust), **changes)


def with_trust(genuine: Genuine, **changes: Any) -> Attempt:
    return Attempt(genuine.data, genuine.trust.model_copy(update=changes))


def replaced_in(genuine: Genuine, old: str, new: str) -> Attempt:
    text = genuine.data.decode()
    assert old in text
    return Attempt(text.replace(old, new, 1).encode(), genuine.trust)


class MemoryLog:
    """A ledger by the holder of the key, with any leaves."""

    def __init__(self, leaves: Sequence[bytes], identity: LogIdentity = LOG) -> None:
        self.identity = identity
        self.size = len(leaves)
        self._nodes: dict[tuple[int, int], bytes] = {}
        for size, leaf in enumerate(leaves):
            for level, index, node in new_nodes(size, hash_leaf(leaf), self.read):
                self._nodes[level, index] = node

    def read(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    @property
    def checkpoint(self) -> str:
        text = Checkpoint(self.identity.verifier.name, self.size, root_of(self.size, self.read)).text
        return sign_note(text, self.identity.verifier, self.identity.signer)

    def proof(self, index: int) -> str:
        return InclusionProof(index, prove_inclusion(index, self.size, self.read), self.checkpoint).encode()


def _leaf(document: dict[str, Any], kind: LeafKind) -> bytes:
    envelope = canonical_bytes({name: value for name, value in document.items() if value is not None})
    parsed = Envelope.parse(envelope)
    stated = json.loads(base64.b64decode(parsed.payload))["predicate"]
    return build_leaf(kind, stated["seq"], stated["execution_id"], envelope, stated["manifest"]).canonical()


def logged(genuine: Genuine, document: dict[str, Any], *, swap: bool = False, at: int | None = None) -> Attempt:
    """Put the statements of a document into a ledger signed with the genuine one's key."""
    leaves = list(genuine.leaves)
    started, final = genuine.positions
    if swap:
        started, final = final, started
    if at is not None:
        leaves += [leaves[0]] * (at + 2)
        started, final = at, at + 1
    leaves[started] = _leaf(document["started"], "started")
    leaves[final] = _leaf(document["record"], "final")
    log = MemoryLog(leaves, genuine.log)
    document["proofs"] = {"started": log.proof(started), "final": log.proof(final)}
    return attempt_on(genuine, document)


def sealed(payload: bytes, *signers: FileSigner) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(seal(payload, *signers))
    return document


def lie(genuine: Genuine, change: Callable[[dict[str, Any]], object], name: str = "record") -> Attempt:
    """The holder of the engine's key and the ledger's states something else, and logs it."""
    document, payload = genuine.document, genuine.payload(name)
    change(payload["predicate"])
    document[name] = sealed(canonical_bytes(payload), genuine.signer)
    return logged(genuine, document)


def respelled(genuine: Genuine, old: bytes, new: bytes) -> Attempt:
    """The engine's own key over a payload in another spelling."""
    document = genuine.document
    payload = base64.b64decode(document["record"]["payload"])
    assert old in payload
    document["record"] = sealed(payload.replace(old, new, 1), genuine.signer)
    return attempt_on(genuine, document)


def flip_base64(text: str, position: int) -> str:
    other = "A" if text[position] != "A" else "B"
    return text[:position] + other + text[position + 1 :]


def cosigned_proof(proof: str, at_s: int, signer: FileSigner) -> str:
    head, _, checkpoint = proof.partition("\n\n")
    return head + "\n\n" + cosign(checkpoint, WITNESS, signer, at_s=at_s)


def cosigned_document(genuine: Genuine, at_s: int, signer: FileSigner) -> dict[str, Any]:
    document = genuine.document
    for name, proof in document["proofs"].items():
        document["proofs"][name] = cosigned_proof(proof, at_s, signer)
    return document


def revocation_of(genuine: Genuine, from_index: int) -> bytes:
    del genuine
    return sealed_revocation(make_revocation(from_index=from_index), ROOT)
