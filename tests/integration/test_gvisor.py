"""Executions in the tier `gvisor`: the same over real HTTP, under gVisor's kernel."""

import asyncio
import os
import signal
from typing import Any

import docker
import pytest

from contracts.execution.isolation_receipt import IsolationReceipt
from contracts.verify.record import verify_record
from supervisor.adapters.kernel.proc_status import read_group
from tests.integration.conftest import Api
from tests.integration.test_executions import LONG, request_with, until_gone

pytestmark = [pytest.mark.docker, pytest.mark.gvisor]


def in_gvisor(request: dict[str, Any]) -> dict[str, Any]:
    return request | {"execution": request["execution"] | {"isolation": "gvisor"}}


SHORT = request_with({"limits": {"max_tokens": 8}})


async def receipt_of(api: Api, path: str) -> IsolationReceipt:
    report = verify_record(await api.get_bytes(path), api.trust)
    assert report.verdict == "VALID"
    assert report.record is not None
    assert report.record.sandbox is not None
    assert report.record.sandbox.isolation is not None
    assert report.record.sandbox.isolation.tier == report.record.plan.isolation
    return report.record.sandbox.isolation


def processes_of(client: docker.DockerClient, container_id: str) -> tuple[int, ...]:
    pid = int(client.api.inspect_container(container_id)["State"]["Pid"])
    return read_group(pid)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_gvisor_gives_the_same_tokens_as_the_hosts_kernel(api: Api) -> None:
    answers = {}
    for name, request in (("hardened", SHORT), ("gvisor", in_gvisor(SHORT))):
        status, answers[name] = await api.post_run(request)
        assert status == 200, answers[name]
    assert answers["gvisor"]["output"] == answers["hardened"]["output"] != ""
    assert answers["gvisor"]["plan_digest"] != answers["hardened"]["plan_digest"]
    receipts = {name: await receipt_of(api, answer["record"]) for name, answer in answers.items()}
    # The very same code ran.
    assert receipts["gvisor"].mapped_objects == receipts["hardened"].mapped_objects is not None


async def test_the_record_says_what_was_seen_of_gvisor_and_what_could_not_be(api: Api) -> None:
    status, body = await api.post_run(in_gvisor(SHORT))
    assert status == 200, body
    receipt = await receipt_of(api, body["record"])
    assert receipt.difference == ()
    assert receipt.locks is None
    seen = receipt.gvisor
    assert seen is not None
    assert seen.arguments == ("--network=none", "--oci-seccomp=true")
    assert seen.guest_filters == 1
    assert (seen.guest_uid, seen.no_new_privs) == (65532, True)
    assert seen.host_filters >= 1
    assert seen.kernel_uid not in {0, 65532}
    assert receipt.network_interfaces == ("lo",)
    assert receipt.unobserved
    assert receipt.pids_limit == 256
    assert body["metrics"]["watts_avg"] > 0


async def test_the_container_engine_was_told_the_runtime(api: Api, engine_client: docker.DockerClient) -> None:
    view = await api.started(in_gvisor(LONG))
    host = engine_client.api.inspect_container(view["container_id"])["HostConfig"]
    async with api.session.delete(f"/v1/runs/{view['execution_id']}") as answer:
        assert answer.status == 200
    assert host["Runtime"] == "weos-gvisor"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]


async def test_cancelling_ends_gvisors_kernel_too(api: Api, engine_client: docker.DockerClient) -> None:
    view = await api.started(in_gvisor(LONG))
    processes = processes_of(engine_client, view["container_id"])
    assert len(processes) > 2
    async with api.session.delete(f"/v1/runs/{view['execution_id']}") as answer:
        body = await answer.json()
    assert (body["status"], body["reason"]["code"]) == ("cancelled", "cancelled")
    assert body["metrics"]["tokens_total"] > 0
    await until_gone(engine_client, view["container_id"])
    assert not any(map(is_alive, processes))


async def test_the_time_limit_holds_in_gvisor(api: Api, engine_client: docker.DockerClient) -> None:
    limited = in_gvisor(request_with({"limits": {"max_tokens": 4000, "timeout_s": 6}, "context_tokens": 8192}))
    status, body = await api.post_run(limited)
    assert (status, body["code"]) == (422, "time_limit_exceeded")
    await until_gone(engine_client, body["partial"]["container_id"])


async def test_gvisors_kernel_killed_in_mid_execution_leaves_one_failed_record(
    api: Api, engine_client: docker.DockerClient
) -> None:
    view = await api.started(in_gvisor(LONG))
    processes = processes_of(engine_client, view["container_id"])
    os.kill(int(engine_client.api.inspect_container(view["container_id"])["State"]["Pid"]), signal.SIGKILL)
    final = await api.until(view["execution_id"], "failed")
    assert final["reason"]["code"] == "runner_failed"
    assert (await receipt_of(api, final["record"])).gvisor is not None
    await until_gone(engine_client, view["container_id"])
    async with asyncio.timeout(60):
        while any(map(is_alive, processes)):  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.05)


async def test_both_tiers_wait_in_one_queue(api: Api) -> None:
    requests = [SHORT, in_gvisor(SHORT), SHORT, in_gvisor(SHORT)]
    bodies = [(await api.post_run(request, Prefer="respond-async"))[1] for request in requests]
    outputs = {(await api.until(body["execution_id"], "completed"))["output"] for body in bodies}
    assert len(outputs) == 1
