"""A conversation from the command line: each turn an execution in a container of its own, with the whole history."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from typing import Any

import docker
import pytest

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.run_request import Message, canonical_messages
from contracts.verify.record import verify_record
from contracts.wire.document import sha256_digest
from supervisor.client.asking import DEFAULT_SYSTEM
from tests.integration.conftest import Api
from tests.integration.test_executions import until_gone

pytestmark = pytest.mark.docker

QUESTIONS = ("What is the capital of France?", "And what is the capital of Germany?")


def chat(api: Api, *lines: str) -> "subprocess.CompletedProcess[str]":
    named = ("--model", "smollm2-135m-instruct", "--quantization", "q4_1")
    return subprocess.run(
        [sys.executable, "-m", "supervisor", "chat", *named, "--max-tokens", "24"],
        env={**os.environ, "WEOS_HOME": str(api.home.root)},
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


async def plan_of(api: Api, run: dict[str, Any]) -> ExecutionPlan:
    envelope = await api.get_bytes(f"/v1/runs/{run['execution_id']}/record")
    report = verify_record(envelope, api.trust)
    assert report.verdict == "VALID"
    payload = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return ExecutionPlan.parse(json.dumps(payload["predicate"]["plan"]).encode())


async def test_two_turns_have_two_containers_and_both_are_gone(api: Api, engine_client: docker.DockerClient) -> None:
    held = await asyncio.to_thread(chat, api, *QUESTIONS)
    assert held.returncode == 0, held.stderr
    assert "Paris" in held.stdout
    listed = (await api.get("/v1/runs"))["runs"]
    runs = [await api.get(f"/v1/runs/{each['execution_id']}") for each in reversed(listed)]
    assert [run["status"] for run in runs] == ["completed", "completed"]
    assert "".join(f"{run['output']}\n" for run in runs) == held.stdout
    assert all(run["execution_id"] in held.stderr for run in runs)
    containers = {run["container_id"] for run in runs}
    assert len(containers) == 2
    for container_id in containers:
        await until_gone(engine_client, container_id)
    system, first, second = (
        Message(role="system", content=DEFAULT_SYSTEM),
        Message(role="user", content=QUESTIONS[0]),
        Message(role="user", content=QUESTIONS[1]),
    )
    answer = Message(role="assistant", content=runs[0]["output"])
    for run, messages in zip(runs, ((system, first), (system, first, answer, second)), strict=True):
        plan = await plan_of(api, run)
        assert (plan.prompt.form, plan.prompt_format) == ("messages", "chat")
        assert plan.prompt.sha256 == sha256_digest(canonical_messages(messages))
