"""Genuine bundles, made by the product's own recorder and ledger with keys of the test's own."""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from contracts.execution.execution_plan import ExecutionPlan
from contracts.releases.manifest import EngineManifest
from contracts.releases.statements import state_manifest
from contracts.verify.speaker import ReleaseEvidence
from contracts.verify.trust import Trust, TrustedKey
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import Envelope, decode_base64
from supervisor.adapters.identity.keys import FileSigner
from supervisor.adapters.ledger.log_identity import LogIdentity
from supervisor.adapters.ledger.store import SqliteLedger
from supervisor.domain.access.usage import NOTHING
from supervisor.domain.records.bundling import build_bundle
from supervisor.domain.records.ports import FinalEntry, StartedEntry
from supervisor.domain.records.recording import Conclusion, abort_conclusion
from supervisor.execution.recorder import Recorder
from tests.factories import WHEN, in_container, make_conclusion, make_plan, make_signer
from tests.fakes.ledger import make_log
from tests.releases import (
    ROOT,
    VERSION,
    VERSION_KEY,
    make_keyring,
    make_manifest,
    make_release,
    root_key,
    sealed_keyring,
    sealed_manifest,
)

__all__ = [
    "DEVELOPMENT",
    "LATER_KEY",
    "LATER_VERSION",
    "LOG",
    "NONCE",
    "SECOND_ROOT",
    "SIGNER",
    "Genuine",
    "development_bundle",
    "left_behind_bundle",
    "released_bundle",
]

NONCE = "auditor-7"
DEVELOPMENT = make_plan().engine_version
SIGNER = make_signer()
LOG = make_log()
OTHERS = 3
EXECUTION_ID = f"exec_{1:032x}"

SECOND_ROOT = make_signer()
ROTATED_AT = "2026-01-31T00:00:00.000Z"
FIRST_KEYRING = make_keyring()
SECOND_KEYRING = make_keyring(
    root_key(ROOT, valid_until=ROTATED_AT), root_key(SECOND_ROOT, ROTATED_AT), version=2, valid_from=ROTATED_AT
)
KEYRINGS = (sealed_keyring(FIRST_KEYRING), sealed_keyring(SECOND_KEYRING, ROOT, SECOND_ROOT))
RELEASE = ReleaseEvidence(manifest=sealed_manifest(), keyrings=KEYRINGS)

LATER_VERSION = "0.2.0"
LATER_KEY = make_signer()
LATER_MANIFEST = make_manifest(
    engine_version=LATER_VERSION, public_key=LATER_KEY.public_key, created_at="2026-01-31T00:00:01.000Z"
)
LATER_RELEASE = ReleaseEvidence(manifest=sealed_manifest(LATER_MANIFEST, SECOND_ROOT), keyrings=KEYRINGS)
LATER_DIGEST = sha256_digest(state_manifest(LATER_MANIFEST).encode())


@dataclass(frozen=True)
class Voice:
    """A version that makes statements."""

    version: str
    signer: FileSigner
    manifest: str | None

    @property
    def recorder(self) -> Recorder:
        return Recorder(self.version, self.manifest, self.signer)


DEVELOPING = Voice(DEVELOPMENT, SIGNER, None)
RELEASED = Voice(VERSION, VERSION_KEY, make_release().digest)
LATER = Voice(LATER_VERSION, LATER_KEY, LATER_DIGEST)


@dataclass(frozen=True)
class Genuine:
    """A bundle as the engine gives it, the trust under which it is VALID, and the keys that could be used to lie."""

    data: bytes
    trust: Trust
    signer: FileSigner
    """The key of the version that signed the record."""
    leaves: tuple[bytes, ...]
    """The whole ledger."""
    positions: tuple[int, int]
    log: LogIdentity = field(default=LOG)

    @property
    def document(self) -> dict[str, Any]:
        """The bundle, to be changed."""
        document: dict[str, Any] = json.loads(self.data)
        return document

    def payload(self, name: str) -> dict[str, Any]:
        """The payload of one of its envelopes, to be changed."""
        envelope = Envelope.parse(json.dumps(self.document[name]).encode())
        payload: dict[str, Any] = json.loads(decode_base64(envelope.payload))
        return payload


def _plan(voice: Voice) -> ExecutionPlan:
    plan = make_plan()
    limits = plan.limits.model_copy(update={"max_tokens": 256})
    return plan.model_copy(update={"engine_version": voice.version, "nonce": NONCE, "limits": limits})


def _ledger(place: Path, voice: Voice) -> SqliteLedger:
    identity = LogIdentity(LOG.verifier, LOG.signer, voice.manifest)
    return SqliteLedger(place / "ledger.sqlite3", identity, place / "checkpoint.note")


async def _start(ledger: SqliteLedger, voice: Voice, number: int, at: datetime) -> int:
    execution_id, plan = f"exec_{number:032x}", _plan(voice)

    def seal(seq: int) -> bytes:
        return voice.recorder.seal_started(execution_id, plan, seq=seq, accepted_at=at)

    return await ledger.append_started(StartedEntry(execution_id, plan, "prompt", at, None, "sha256:" + "0" * 64, seal))


async def _end(
    ledger: SqliteLedger, voice: Voice, planned: Voice, number: int, seq: int, conclusion: Conclusion
) -> None:
    execution_id = f"exec_{number:032x}"
    conclusion = in_container(conclusion, number)
    _, envelope = voice.recorder.record(
        execution_id, _plan(planned), conclusion, seq=seq, accepted_at=WHEN, finished_at=WHEN
    )
    await ledger.append_final(
        FinalEntry(execution_id, conclusion.outcome, envelope, conclusion.output, "2026-01-31", NOTHING)
    )


async def _make(
    started_by: Voice, ended_by: Voice, conclusion: Conclusion, releases: Mapping[str, ReleaseEvidence]
) -> tuple[bytes, tuple[bytes, ...], tuple[int, int]]:
    with tempfile.TemporaryDirectory() as directory:
        ledger = _ledger(Path(directory), started_by)
        await ledger.open()
        await _start(ledger, started_by, 0, WHEN)
        seq = await _start(ledger, started_by, 1, WHEN)
        await _end(ledger, started_by, started_by, 0, 1, make_conclusion())
        await ledger.close()
        # Another version is another process, which opens the same ledger.
        ledger = _ledger(Path(directory), ended_by)
        await ledger.open()
        await _end(ledger, ended_by, started_by, 1, seq, conclusion)
        for number in range(2, 2 + OTHERS):
            other = await _start(ledger, ended_by, number, WHEN)
            await _end(ledger, ended_by, ended_by, number, other, make_conclusion())
        stored, proofs = await ledger.find(EXECUTION_ID), await ledger.prove_both(EXECUTION_ID)
        leaves = tuple(entry.leaf for entry in await ledger.entries(start=0, limit=100))
        await ledger.close()
    assert stored is not None
    assert stored.envelope is not None
    bundle = build_bundle(stored.envelope, stored.started_envelope, stored.plan.engine_version, proofs, releases)
    return bundle.model_dump_json().encode(), leaves, (proofs[0].index, proofs[1].index)


def _trust(**changes: Any) -> Trust:
    return Trust(schema_version="weos.trust/1", keys=(), logs=(LOG.verifier.encode(),)).model_copy(update=changes)


def development_bundle(conclusion: Conclusion | None = None) -> Genuine:
    """Of a development tree, trusted through its key."""
    made = asyncio.run(_make(DEVELOPING, DEVELOPING, conclusion or make_conclusion(), {}))
    key = TrustedKey(engine_version=DEVELOPMENT, public_key=SIGNER.public_key)
    return Genuine(made[0], _trust(keys=(key,)), SIGNER, *made[1:])


def released_bundle(conclusion: Conclusion | None = None, manifest: EngineManifest | None = None) -> Genuine:
    """Of a released version, trusted through its manifest and an older root keyring."""
    manifest = manifest or make_manifest()
    voice = Voice(VERSION, VERSION_KEY, make_release(manifest).digest)
    release = ReleaseEvidence(manifest=sealed_manifest(manifest), keyrings=KEYRINGS)
    made = asyncio.run(_make(voice, voice, conclusion or make_conclusion(), {VERSION: release}))
    return Genuine(made[0], _trust(root=FIRST_KEYRING), VERSION_KEY, *made[1:])


def left_behind_bundle() -> Genuine:
    """Of an execution that one released version accepted and the next recorded as aborted."""
    releases = {VERSION: RELEASE, LATER_VERSION: LATER_RELEASE}
    made = asyncio.run(_make(RELEASED, LATER, abort_conclusion(), releases))
    return Genuine(made[0], _trust(root=FIRST_KEYRING), LATER_KEY, *made[1:])
