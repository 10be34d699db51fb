"""A conversation from the command line: each turn an execution in a container of its own, with the whole history."""

import asyncio
import base64
import json
import os
import signal
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

WAIT_S = 300
QUESTIONS = ("What is the capital of France?", "And what is the capital of Germany?")


def chat(api: Api, max_tokens: int) -> "subprocess.Popen[str]":
    named = ("--model", "smollm2-135m-instruct", "--quantization", "q4_1", "--max-tokens", str(max_tokens))
    return subprocess.Popen(
        [sys.executable, "-m", "supervisor", "chat", *named],
        env={**os.environ, "WEOS_HOME": str(api.home.root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def held(api: Api, *lines: str) -> tuple[int, str, str]:
    """Hold a whole conversation; return exit status, answers and what was told beside them."""
    with chat(api, 24) as process:
        out, err = process.communicate("".join(f"{line}\n" for line in lines), timeout=WAIT_S)
    return process.returncode, out, err


def interrupted(api: Api, line: str) -> tuple[int, str]:
    """Interrupt an answer once its first text is there; return exit status and what was told."""
    with chat(api, 1500) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    return process.returncode, err


async def plan_of(api: Api, run: dict[str, Any]) -> ExecutionPlan:
    envelope = await api.get_bytes(f"/v1/runs/{run['execution_id']}/record")
    report = verify_record(envelope, api.trust)
    assert report.verdict == "VALID"
    payload = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return ExecutionPlan.parse(json.dumps(payload["predicate"]["plan"]).encode())


async def test_two_turns_have_two_containers_and_both_are_gone(api: Api, engine_client: docker.DockerClient) -> None:
    code, out, err = await asyncio.to_thread(held, api, *QUESTIONS)
    assert code == 0, err
    assert "Paris" in out
    listed = (await api.get("/v1/runs"))["runs"]
    runs = [await api.get(f"/v1/runs/{each['execution_id']}") for each in reversed(listed)]
    assert [run["status"] for run in runs] == ["completed", "completed"]
    assert "".join(f"{run['output']}\n" for run in runs) == out
    assert all(run["execution_id"] in err for run in runs)
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


async def test_an_interrupted_answer_is_cancelled_and_its_record_kept(
    api: Api, engine_client: docker.DockerClient
) -> None:
    code, err = await asyncio.to_thread(interrupted, api, "Tell me a long story about a village by the sea.")
    (listed,) = (await api.get("/v1/runs"))["runs"]
    assert (code, listed["status"]) == (130, "cancelled"), err
    assert f"{listed['execution_id']}  cancelled, its record is kept" in err
    report = verify_record(await api.get_bytes(f"/v1/runs/{listed['execution_id']}/record"), api.trust)
    assert report.verdict == "VALID"
    run = await api.get(f"/v1/runs/{listed['execution_id']}")
    await until_gone(engine_client, run["container_id"])
