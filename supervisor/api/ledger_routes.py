"""Routes of the ledger, which auditors and witnesses read."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Literal

from aiohttp import web

from contracts.api.ledger_operations import TEXT
from contracts.ledger.bundle import Bundle, ConsistencyProof, EntryPage, LedgerEntryView
from contracts.ledger.note import parse_note
from contracts.ledger.proof import Checkpoint, InclusionProof, Leaf
from contracts.ledger.range_proof import RANGE_MAX
from contracts.wire.document import Contract
from contracts.wire.envelope import Envelope
from contracts.wire.errors import ContractError
from supervisor.api.context import CALLER, CONTEXT
from supervisor.api.request_reader import Query, read_execution_id
from supervisor.domain.errors import Refusal, StorageError
from supervisor.domain.planning.ports import ReleasesPort
from supervisor.domain.records.bundling import build_bundle, released_versions
from supervisor.domain.records.ports import LedgerPort, StoredRun

__all__ = ["LEDGER", "LEDGER_HANDLERS", "RELEASES"]

LEDGER: web.AppKey[LedgerPort] = web.AppKey("ledger", LedgerPort)
RELEASES: web.AppKey[ReleasesPort] = web.AppKey("releases", ReleasesPort)


def _answer(document: Contract) -> web.Response:
    body = document.model_dump_json(exclude_none=False).encode("utf-8")
    return web.Response(body=body, content_type="application/json")


async def get_bundle(request: web.Request) -> web.StreamResponse:
    """GET /v1/runs/{execution_id}/bundle."""
    execution_id = read_execution_id(request)
    stored, record = await request.app[CONTEXT].book.ended(execution_id, request[CALLER])
    proofs = await request.app[LEDGER].prove_both(execution_id)
    try:
        bundle = await asyncio.to_thread(_bundle, stored, record, proofs, request.app[RELEASES])
    except ContractError as error:
        raise StorageError("ledger_unsound", f"a document of the release cannot be read: {error}") from error
    return _answer(bundle)


def _bundle(
    stored: StoredRun, record: bytes, proofs: tuple[InclusionProof, InclusionProof], releases: ReleasesPort
) -> Bundle:
    planned = stored.plan.engine_version
    known = {version: releases.evidence(version) for version in released_versions(record, planned)}
    return build_bundle(record, stored.started_envelope, planned, proofs, known)


async def get_checkpoint(request: web.Request) -> web.StreamResponse:
    """GET /v1/ledger/checkpoint."""
    return web.Response(text=await request.app[LEDGER].checkpoint(), content_type=TEXT, charset="utf-8")


async def get_proof(request: web.Request) -> web.StreamResponse:
    """GET /v1/ledger/proof/{execution_id}."""
    execution_id = read_execution_id(request)
    kind: Literal["started", "final"] = "started" if Query(request, "getProof").text("kind") == "started" else "final"
    proof = await request.app[LEDGER].prove(execution_id, kind)
    return web.Response(text=proof.encode(), content_type=TEXT, charset="utf-8")


async def get_consistency(request: web.Request) -> web.StreamResponse:
    """GET /v1/ledger/consistency."""
    query = Query(request, "getConsistency")
    first, second = query.number("from"), query.number("to")
    hashes = await request.app[LEDGER].prove_consistency(first, second)
    encoded = tuple(base64.b64encode(each).decode("ascii") for each in hashes)
    return _answer(ConsistencyProof(first=first, second=second, hashes=encoded))


async def get_range(request: web.Request) -> web.StreamResponse:
    """GET /v1/ledger/range."""
    query = Query(request, "getRange")
    first, second = query.number("from"), query.number("to")
    if not first <= second <= first + RANGE_MAX:
        detail = f"`to` must be at least `from` and at most {RANGE_MAX} more; ask for a longer range in parts"
        raise Refusal("ledger_range_unknown", detail, field="to")
    return _answer(await request.app[LEDGER].prove_range(first, second))


async def list_entries(request: web.Request) -> web.StreamResponse:
    """GET /v1/ledger/entries."""
    query = Query(request, "listEntries")
    ledger = request.app[LEDGER]
    entries = await ledger.entries(start=query.number("start"), limit=query.number("limit"))
    views = tuple(
        LedgerEntryView(position=entry.position, leaf=Leaf.parse(entry.leaf), envelope=Envelope.parse(entry.envelope))
        for entry in entries
    )
    checkpoint = Checkpoint.of_note(parse_note((await ledger.checkpoint()).encode("utf-8")))
    return _answer(EntryPage(entries=views, size=checkpoint.size))


LEDGER_HANDLERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "getBundle": get_bundle,
    "getCheckpoint": get_checkpoint,
    "getProof": get_proof,
    "getConsistency": get_consistency,
    "getRange": get_range,
    "listEntries": list_entries,
}
