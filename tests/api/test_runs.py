from contracts.verify.record import verify_record
from tests.api.harness import Engine
from tests.fakes.run_requests import spec_request

SPEC_METRICS = {"tokens_total", "tokens_per_sec", "latency_p95_ms", "watts_avg", "tokens_per_watt"}


async def test_the_specifications_request_gets_the_specifications_answer(engine: Engine) -> None:
    answer = await engine.client.post("/v1/runs", json=spec_request())
    body = await answer.json()
    assert answer.status == 200
    assert {"execution_id", "engine_version", "metrics"} <= set(body)
    assert set(body["metrics"]) >= SPEC_METRICS
    assert body["output"] == "Olá, mundo"
    assert body["metrics"]["tokens_total"] == 3


async def test_every_execution_leaves_one_verifiable_record(engine: Engine) -> None:
    body = await (await engine.client.post("/v1/runs", json=spec_request())).json()
    envelope = await (await engine.client.get(body["record"])).read()
    report = verify_record(envelope, engine.trust)
    assert report.verdict == "VALID"
    assert report.record is not None
    assert report.record.execution_id == body["execution_id"]
    assert list(engine.ledger.final) == [body["execution_id"]]
    assert engine.sandboxes.destroyed == [body["container_id"]]
