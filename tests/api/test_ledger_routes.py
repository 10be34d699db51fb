"""The routes of auditors and witnesses."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from contracts.ledger.bundle import Bundle, ConsistencyProof, EntryPage
from contracts.ledger.merkle import consistency_holds, hash_leaf, inclusion_root
from contracts.ledger.note import parse_note
from contracts.ledger.proof import Checkpoint, build_leaf, parse_proof
from contracts.verify.bundle import verify_bundle
from contracts.verify.range import verify_range
from contracts.verify.speaker import ReleaseEvidence
from contracts.verify.trust import Trust
from tests.api.harness import Engine, problem_of
from tests.fakes.installation import fixed_installation
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner, answering
from tests.releases import VERSION, make_keyring, sealed_keyring, sealed_manifest, sealed_revocation


async def ended(engine: Engine) -> str:
    body = await (await engine.post()).json()
    return str(body["execution_id"])


async def checkpoint_of(engine: Engine) -> Checkpoint:
    answer = await engine.client.get("/v1/ledger/checkpoint")
    assert (answer.status, answer.content_type, answer.charset) == (200, "text/plain", "utf-8")
    note = parse_note(await answer.read())
    assert engine.ledger.log.verifier.holds(note) is True
    return Checkpoint.of_note(note)


async def test_an_execution_is_two_entries(engine: Engine) -> None:
    await ended(engine)
    assert (await checkpoint_of(engine)).size == 2


@pytest.mark.parametrize(("query", "kind"), [("", "final"), ("?kind=final", "final"), ("?kind=started", "started")])
async def test_a_proof_leads_from_the_envelope_to_the_checkpoint(engine: Engine, query: str, kind: Any) -> None:
    execution_id = await ended(engine)
    await ended(engine)
    answer = await engine.client.get(f"/v1/ledger/proof/{execution_id}{query}")
    assert (answer.status, answer.content_type) == (200, "text/plain")
    proof, _, checkpoint = parse_proof(await answer.read())
    page = EntryPage.parse(await (await engine.client.get("/v1/ledger/entries")).read())
    entry = page.entries[proof.index]
    envelope = entry.envelope.model_dump_json(exclude_none=True).encode()
    leaf = build_leaf(kind, 1, execution_id, envelope, None)
    assert leaf == entry.leaf
    assert inclusion_root(hash_leaf(leaf.canonical()), proof.index, checkpoint.size, proof.hashes) == checkpoint.root


async def test_the_ledger_is_only_extended(engine: Engine) -> None:
    await ended(engine)
    before = await checkpoint_of(engine)
    await ended(engine)
    after = await checkpoint_of(engine)
    answer = await engine.client.get(f"/v1/ledger/consistency?from={before.size}&to={after.size}")
    proof = ConsistencyProof.parse(await answer.read())
    hashes = [base64.b64decode(each) for each in proof.hashes]
    assert consistency_holds(before.size, after.size, before.root, after.root, hashes)


async def test_entries_come_in_pages(engine: Engine) -> None:
    for _ in range(3):
        await ended(engine)
    page = EntryPage.parse(await (await engine.client.get("/v1/ledger/entries?start=2&limit=3")).read())
    assert [entry.position for entry in page.entries] == [2, 3, 4]
    assert page.size == 6
    empty = EntryPage.parse(await (await engine.client.get("/v1/ledger/entries?start=6")).read())
    assert empty.entries == ()


async def test_a_bundle_holds_both_statements_and_both_proofs(engine: Engine) -> None:
    execution_id = await ended(engine)
    answer = await engine.client.get(f"/v1/runs/{execution_id}/bundle")
    bundle = Bundle.parse(await answer.read())
    started, final = parse_proof(bundle.proofs.started.encode()), parse_proof(bundle.proofs.final.encode())
    assert (started[0].index, final[0].index) == (0, 1)
    assert started[2] == final[2] == await checkpoint_of(engine)
    record = await (await engine.client.get(f"/v1/runs/{execution_id}/record")).read()
    assert bundle.record.model_dump_json(exclude_none=True).encode() == record


async def test_a_bundle_verifies_offline(engine: Engine) -> None:
    data = await (await engine.client.get(f"/v1/runs/{await ended(engine)}/bundle")).read()
    trust = engine.trust.model_copy(update={"logs": (engine.ledger.log.verifier.encode(),)})
    report = verify_bundle(data, trust)
    assert report.verdict == "VALID", report.checks[-1]
    bundle = Bundle.parse(data)
    assert (bundle.manifest, bundle.started_manifest, bundle.keyrings, bundle.revocations) == (None, None, (), ())


async def test_a_bundle_of_a_released_version_has_what_it_is_trusted_through() -> None:
    installation = replace(fixed_installation(), engine_version=VERSION)
    evidence = ReleaseEvidence(sealed_manifest(), (sealed_keyring(make_keyring()),), (sealed_revocation(),))
    async with Engine(answering(["ok"]), installation).serving() as engine:
        engine.releases.known[VERSION] = evidence
        answer = await engine.client.get(f"/v1/runs/{await ended(engine)}/bundle")
        bundle = Bundle.parse(await answer.read())
        assert bundle.manifest is not None
        assert bundle.manifest.encode() == sealed_manifest()
        assert [each.encode() for each in bundle.keyrings] == list(evidence.keyrings)
        assert [each.encode() for each in bundle.revocations] == list(evidence.revocations)
        engine.releases.known[VERSION] = replace(evidence, manifest=b"{")
        unsound = await engine.client.get(f"/v1/runs/{await ended(engine)}/bundle")
        assert (unsound.status, (await problem_of(unsound)).code) == (503, "ledger_unsound")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/ledger/proof/exec_" + "0" * 32, 404, "ledger_entry_not_found"),
        ("/v1/runs/exec_" + "0" * 32 + "/bundle", 404, "execution_not_found"),
        ("/v1/ledger/proof/nonsense", 400, "bad_parameter"),
        ("/v1/ledger/proof/exec_" + "0" * 32 + "?kind=both", 400, "bad_parameter"),
        ("/v1/ledger/proof/exec_" + "0" * 32 + "?kind=final&kind=started", 400, "bad_parameter"),
        ("/v1/ledger/consistency", 400, "bad_parameter"),
        ("/v1/ledger/consistency?from=1", 400, "bad_parameter"),
        ("/v1/ledger/consistency?from=0&to=1", 400, "bad_parameter"),
        ("/v1/ledger/consistency?from=1&to=two", 400, "bad_parameter"),
        ("/v1/ledger/consistency?from=1&to=99999999999999999", 400, "bad_parameter"),
        ("/v1/ledger/consistency?from=1&to=9", 422, "ledger_range_unknown"),
        ("/v1/ledger/consistency?from=1&to=2&via=3", 400, "bad_parameter"),
        ("/v1/ledger/entries?limit=0", 400, "bad_parameter"),
        ("/v1/ledger/entries?limit=101", 400, "bad_parameter"),
        ("/v1/ledger/entries?start=-1", 400, "bad_parameter"),
        ("/v1/ledger/entries?start=\u0661", 400, "bad_parameter"),
    ],
)
async def test_what_cannot_be_answered_is_refused(engine: Engine, path: str, status: int, code: str) -> None:
    answer = await engine.client.get(path)
    assert (answer.status, (await problem_of(answer)).code) == (status, code)


async def test_a_bundle_is_there_when_the_execution_has_ended() -> None:
    runner = HeldRunner()
    async with Engine(runner).serving() as engine:
        answer = await engine.client.post("/v1/runs", json=spec_request(), headers={"Prefer": "respond-async"})
        execution_id = (await answer.json())["execution_id"]
        early = await engine.client.get(f"/v1/runs/{execution_id}/bundle")
        assert (early.status, (await problem_of(early)).code) == (404, "record_not_ready")
        started = await engine.client.get(f"/v1/ledger/proof/{execution_id}?kind=started")
        assert started.status == 200
        runner.gate.set()
        await engine.ended(execution_id)
        assert (await engine.client.get(f"/v1/runs/{execution_id}/bundle")).status == 200


@pytest.mark.parametrize("path", ["checkpoint", "entries", "proof/exec_" + "0" * 32, "consistency?from=1&to=1"])
async def test_a_ledger_that_cannot_be_read_is_told(engine: Engine, path: str) -> None:
    await ended(engine)
    engine.ledger.unreadable = True
    answer = await engine.client.get(f"/v1/ledger/{path}")
    assert (answer.status, (await problem_of(answer)).code) == (507, "storage_full")


async def test_a_range_proof_shows_that_nothing_was_left_out(engine: Engine) -> None:
    for _ in range(3):
        await ended(engine)
    answer = await engine.client.get("/v1/ledger/range?from=2&to=5")
    assert answer.status == 200
    trust = Trust(schema_version="weos.trust/1", keys=(), logs=(engine.ledger.log.verifier.encode(),))
    verified = verify_range([await answer.read()], trust)
    assert verified.verdict == "VALID"
    assert verified.document is not None
    assert verified.document.executions == 2


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("from=0&to=7", 422, "ledger_range_unknown"),
        ("from=3&to=2", 422, "ledger_range_unknown"),
        ("from=0&to=1001", 422, "ledger_range_unknown"),
        ("from=0", 400, "bad_parameter"),
        ("from=-1&to=1", 400, "bad_parameter"),
    ],
)
async def test_a_range_that_there_is_not_is_refused(engine: Engine, query: str, status: int, code: str) -> None:
    for _ in range(3):
        await ended(engine)
    answer = await engine.client.get(f"/v1/ledger/range?{query}")
    assert answer.status == status
    assert (await problem_of(answer)).code == code


@pytest.mark.parametrize("query", ["from=0&to=1001", "from=3&to=2"])
async def test_a_range_is_bounded_before_the_ledger_is_asked(engine: Engine, query: str) -> None:
    problem = await problem_of(await engine.client.get(f"/v1/ledger/range?{query}"))
    assert "in parts" in problem.detail
