"""Executions in real containers, asked for over real HTTP."""

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import docker
import pytest

from contracts.verify.record import verify_record
from supervisor.adapters.policies import load_policies
from supervisor.client.engine_client import EngineClient
from supervisor.composition import SOURCE_ROOT
from tests.event_streams import read_event, read_events
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, make_home, serving

pytestmark = pytest.mark.docker

SPEC_METRICS = {"tokens_total", "tokens_per_sec", "latency_p95_ms", "watts_avg", "tokens_per_watt"}


def request_with(execution: dict[str, Any], **changes: Any) -> dict[str, Any]:
    request = spec_request(**changes)
    # A raw text is continued without end, where an answer in a chat may be short.
    request["execution"] = request["execution"] | {"prompt_format": "raw"} | execution
    return request


LONG = request_with({"limits": {"max_tokens": 4000}, "context_tokens": 8192})


def container_exists(client: docker.DockerClient, container_id: str) -> bool:
    # The low-level listing: the other one looks at each container again, and fails where it went meanwhile.
    return bool(client.api.containers(all=True, filters={"id": container_id}))


async def until_gone(client: docker.DockerClient, container_id: str) -> None:
    async with asyncio.timeout(60):
        while container_exists(client, container_id):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.1)


async def test_the_specifications_request_is_executed_measured_and_signed(api: Api) -> None:
    status, body = await api.post_run(spec_request())
    assert status == 200, body
    metrics = body["metrics"]
    assert {"execution_id", "engine_version", "metrics"} <= set(body)
    assert set(metrics) >= SPEC_METRICS
    assert metrics["unmeasured"] == {}
    assert metrics["tokens_total"] == 8
    assert metrics["watts_source"] == "model"
    assert metrics["watts_low"] <= metrics["watts_avg"] <= metrics["watts_high"]
    assert metrics["tokens_per_watt"] == pytest.approx(metrics["tokens_per_sec"] / metrics["watts_avg"], abs=1e-4)
    report = verify_record(await api.get_bytes(body["record"]), api.trust)
    assert report.verdict == "VALID"
    assert report.record is not None
    assert report.record.sandbox is not None
    assert "AVX2" in (report.record.sandbox.cpu_features or ())
    assert report.record.power is not None
    assert [sample.mark for sample in report.record.power.samples if sample.mark != "tick"] == [
        "start",
        "job",
        "prefill",
        "end",
    ]
    assert report.record.power.samples[-1].cpu_time_ns
    seen = report.record.sandbox.isolation
    assert seen is not None
    assert (seen.tier, seen.difference, seen.network_interfaces) == ("hardened", (), ("lo",))
    assert seen.cpus_allowed == report.record.sandbox.cpus
    assert seen.memory_limit_bytes == report.record.plan.limits.memory_bytes
    assert seen.mapped_objects is not None
    locks = seen.locks
    assert locks is not None
    assert (locks.seccomp_mode, locks.no_new_privs, locks.uid) == (2, True, 65532)
    assert locks.filters_after == locks.filters_before + 1
    assert len(set(locks.programs or ())) == locks.filters_after
    assert (locks.cap_eff, locks.cap_bnd) == ("0" * 16, "0" * 16)
    assert locks.threads == report.record.plan.scheduling.threads


async def test_the_same_request_twice_gives_one_plan_one_output_and_two_containers(
    api: Api, engine_client: docker.DockerClient
) -> None:
    bodies = [(await api.post_run(spec_request()))[1] for _ in range(2)]
    assert bodies[0]["output"] == bodies[1]["output"] != ""
    assert bodies[0]["plan_digest"] == bodies[1]["plan_digest"]
    containers = {body["container_id"] for body in bodies}
    assert len(containers) == 2
    for container_id in containers:
        await until_gone(engine_client, container_id)


async def test_each_computing_thread_has_a_core_to_itself(api: Api, engine_client: docker.DockerClient) -> None:
    async with api.session.post("/v1/plans", json=LONG) as planned:
        threads = (await planned.json())["plan"]["scheduling"]["threads"]
    view = await api.started(LONG)
    pid = engine_client.api.inspect_container(view["container_id"])["State"]["Pid"]
    async with asyncio.timeout(30):
        while (places := places_of_threads(pid)) is None or len(places) != threads or overlap(places):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    async with api.session.delete(f"/v1/runs/{view['execution_id']}") as answer:
        ended = await answer.json()
    record = verify_record(await api.get_bytes(ended["record"]), api.trust).record
    assert record is not None
    assert record.sandbox is not None
    assert set().union(*places) == set(record.sandbox.cpus)


def places_of_threads(pid: int) -> list[set[int]] | None:
    """The logical CPUs of each thread, None while they come and go."""
    try:
        return [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]
    except ProcessLookupError:
        return None


def overlap(places: list[set[int]]) -> bool:
    return sum(map(len, places)) != len(set().union(*places))


async def test_a_running_container_is_what_the_policy_says(api: Api, engine_client: docker.DockerClient) -> None:
    view = await api.started(LONG)
    details = engine_client.api.inspect_container(view["container_id"])
    mountinfo = await asyncio.to_thread(Path(f"/proc/{details['State']['Pid']}/mountinfo").read_text)
    async with api.session.delete(f"/v1/runs/{view['execution_id']}") as answer:
        assert answer.status == 200
    host = details["HostConfig"]
    assert details["Config"]["User"] == "65532:65532"
    assert details["Image"] == (await api.get("/v1/backends"))["backends"][0]["image"]
    assert host["Runtime"] == "runc"
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == [
        "no-new-privileges:true",
        load_policies(SOURCE_ROOT / "policies").seccomp.encode_option("hardened"),
    ]
    assert host["LogConfig"]["Type"] == "none"
    assert host["IpcMode"] == "none"
    assert host["CgroupnsMode"] == "private"
    assert host["PidsLimit"] == 64
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["OomScoreAdj"] == 500
    assert host["Privileged"] is False
    assert "/proc/cpuinfo" in host["MaskedPaths"]
    assert host["CgroupParent"] in {"/weos", "weos.slice"}
    (model_mount,) = [line.split()[5] for line in mountinfo.splitlines() if line.split()[4] == "/model"]
    assert set(model_mount.split(",")) >= {"ro", "nosuid", "nodev", "noexec"}
    assert [mount["Destination"] for mount in details["Mounts"]] == ["/model"]


async def test_a_stream_tells_every_token_and_ends_with_the_metrics(api: Api) -> None:
    headers = {"Accept": "text/event-stream"}
    async with api.session.post("/v1/runs", json=spec_request(), headers=headers) as answer:
        events = await read_events(answer)
    assert [event.name for event in events] == ["started", *["token"] * 8, "done"]
    last = events[-1].document
    assert last["output"] == "".join(event.document["text"] for event in events[1:-1])
    assert last["metrics"]["tokens_total"] == 8


async def test_cancelling_leaves_a_record_and_no_container(api: Api, engine_client: docker.DockerClient) -> None:
    view = await api.started(LONG)
    async with api.session.delete(f"/v1/runs/{view['execution_id']}") as answer:
        body = await answer.json()
    assert (body["status"], body["reason"]["code"]) == ("cancelled", "cancelled")
    assert body["output"].startswith(view["output"])
    assert body["metrics"]["tokens_total"] > 0
    await until_gone(engine_client, view["container_id"])
    assert verify_record(await api.get_bytes(body["record"]), api.trust).verdict == "VALID"


async def test_a_client_that_goes_away_ends_its_execution(api: Api, engine_client: docker.DockerClient) -> None:
    headers = {"Accept": "text/event-stream"}
    async with api.session.post("/v1/runs", json=LONG, headers=headers) as answer:
        assert await read_event(answer) is not None, "started"
        assert await read_event(answer) is not None, "its first token"
        (running,) = [run for run in (await api.get("/v1/runs"))["runs"] if run["status"] == "running"]
        view = await api.get(f"/v1/runs/{running['execution_id']}")
        answer.close()
    final = await api.until(view["execution_id"], "cancelled")
    assert final["metrics"]["tokens_total"] < 4000
    await until_gone(engine_client, view["container_id"])


async def test_the_time_limit_ends_an_execution_and_keeps_what_it_produced(
    api: Api, engine_client: docker.DockerClient
) -> None:
    limited = request_with({"limits": {"max_tokens": 4000, "timeout_s": 5}, "context_tokens": 8192})
    status, body = await api.post_run(limited)
    assert (status, body["code"]) == (422, "time_limit_exceeded")
    assert body["partial"]["status"] == "failed"
    report = verify_record(await api.get_bytes(f"/v1/runs/{body['execution_id']}/record"), api.trust)
    assert report.verdict == "VALID"
    assert report.record is not None
    assert report.record.reason is not None
    assert report.record.reason.code == "time_limit_exceeded"
    await until_gone(engine_client, body["partial"]["container_id"])


async def test_a_prompt_that_does_not_fit_is_told_so(api: Api) -> None:
    status, body = await api.post_run(
        request_with({"context_tokens": 64, "limits": {"max_tokens": 32}}, prompt="palavra " * 100)
    )
    assert (status, body["code"]) == (422, "context_overflow")
    assert "tokens" in body["detail"]


async def test_a_seed_draws_the_same_tokens_again_and_another_seed_others(api: Api) -> None:
    outputs = []
    for seed in (7, 7, 8):
        drawn = request_with({"seed": seed, "sampling": {"temperature": 1.5}, "limits": {"max_tokens": 24}})
        status, body = await api.post_run(drawn)
        assert status == 200, body
        outputs.append(body["output"])
    assert outputs[0] == outputs[1] != outputs[2]


async def test_a_stop_sequence_cuts_the_answer(api: Api) -> None:
    whole = (await api.post_run(request_with({"limits": {"max_tokens": 48}})))[1]["output"]
    stop = whole[len(whole) // 2 :][:5]
    body = (await api.post_run(request_with({"limits": {"max_tokens": 48}, "stop": [stop]})))[1]
    assert body["metrics"]["finish_reason"] == "stop"
    assert body["output"] == whole[: whole.index(stop)]


async def test_a_power_limit_takes_threads_and_is_kept(api: Api) -> None:
    async with api.session.post("/v1/plans", json=request_with({"limits": {"max_tokens": 8, "max_watts": 0.1}})) as no:
        refusal = await no.json(content_type=None)
    assert refusal["code"] == "power_limit_unenforceable"
    lowest = float(refusal["detail"].split()[-2])
    status, body = await api.post_run(request_with({"limits": {"max_tokens": 16, "max_watts": lowest}}))
    assert status == 200, body
    assert body["metrics"]["watts_avg"] <= lowest
    report = verify_record(await api.get_bytes(body["record"]), api.trust)
    assert report.record is not None
    assert report.record.plan.scheduling.threads == 1


async def test_waiting_executions_are_queued_in_order(api: Api) -> None:
    first = await api.started(LONG)
    second = (await api.post_run(spec_request(), Prefer="respond-async"))[1]
    third = (await api.post_run(spec_request(), Prefer="respond-async"))[1]
    assert (await api.get(f"/v1/runs/{third['execution_id']}"))["queue_position"] == 2
    async with api.session.delete(f"/v1/runs/{first['execution_id']}") as answer:
        assert answer.status == 200
    ended = [await api.until(run["execution_id"], "completed") for run in (second, third)]
    assert ended[0]["accepted_at"] <= ended[1]["accepted_at"]


async def test_the_served_api_answers_broken_http_without_quoting_it(api: Api) -> None:
    port = int(api.listening.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/version HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer SECRET\0TOKEN\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b"application/problem+json" in answer
    assert b"SECRET" not in answer
    assert api.listening.url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.2", port)


async def test_a_home_may_lie_deeper_than_a_socket_can_be_named(
    tmp_path: Path, weos_home: Path, docker_host: str
) -> None:
    deep = make_home(tmp_path / ("deep" * 30), weos_home)
    async with serving(deep, docker_host):
        assert await asyncio.to_thread(EngineClient(deep).is_serving)


async def test_the_api_is_served_on_the_unix_socket_too(api: Api) -> None:
    connector = aiohttp.UnixConnector(str(api.home.socket))
    assert api.home.socket.stat().st_mode & 0o777 == 0o600
    async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
        async with session.get("/v1/version") as refused:
            assert refused.status == 401
        headers = {"Authorization": f"Bearer {api.home.token()}"}
        async with session.get("/v1/version", headers=headers) as answer:
            assert (await answer.json())["engine_version"] == api.listening.engine_version
