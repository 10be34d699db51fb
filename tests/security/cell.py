"""The very container of an execution, with whatever command a test puts into it."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import docker
from docker.utils.socket import STDERR, STDOUT, frames_iter

from contracts.execution_plan import ExecutionPlan
from contracts.types import IsolationTier
from supervisor.domain.hardening import build_container_config, model_path
from supervisor.domain.policy import Policies

__all__ = ["LABELS", "PYTHON", "Cell", "Ended", "job_lines"]

PYTHON = ("/usr/bin/python3.11", "-I", "-S", "-B")
LABELS = {"weos.test": "security"}


@dataclass(frozen=True)
class Ended:
    """What a container left: both outputs and its exit status."""

    output: bytes
    errors: bytes
    status: int


def job_lines(plan: ExecutionPlan, policies: Policies, *, max_tokens: int = 1) -> bytes:
    """What the supervisor sends: set-up, one greedy job, and leave to go."""
    lines: tuple[dict[str, Any], ...] = (
        {
            "type": "setup",
            "protocol": 1,
            "model_path": model_path(policies.sandbox),
            "context_tokens": 512,
            "threads": plan.scheduling.threads,
            "batch_tokens": 512,
            "repack": plan.scheduling.repack,
        },
        {
            "type": "job",
            "prompt": "The capital of France is",
            "max_tokens": max_tokens,
            "seed": 0,
            "sampling": plan.sampling.model_dump(mode="json"),
            "stop": [],
        },
        {"type": "exit"},
    )
    return b"".join(json.dumps(line).encode("ascii") + b"\n" for line in lines)


@dataclass(frozen=True)
class Cell:
    """Makes containers as the plan and the policies say."""

    client: docker.APIClient
    plan: ExecutionPlan
    policies: Policies
    model_source: str

    @property
    def tier(self) -> IsolationTier:
        """The tier of its containers."""
        return self.plan.isolation

    def under(self, tier: IsolationTier) -> "Cell":
        """Return one that makes the same containers in another tier."""
        return replace(self, plan=self.plan.model_copy(update={"isolation": tier}))

    def run(self, script: str | None = None, *, stdin: bytes = b"", **host: Any) -> Ended:
        """Run the image's own command, or a script in its interpreter; keyword arguments replace host settings."""
        container_id = self.create(script, host)
        try:
            return self._exchange(container_id, stdin)
        finally:
            self.client.remove_container(container_id, force=True, v=True)

    def create(self, script: str | None, host: Mapping[str, Any]) -> str:
        """Create a container without starting it."""
        config = build_container_config(
            self.plan,
            self.policies.sandbox,
            self.policies.seccomp,
            model_source=self.model_source,
            cpus=(0,),
            labels=LABELS,
            cgroup_driver=str(self.client.info()["CgroupDriver"]),
        )
        config["HostConfig"] |= host
        if script is not None:
            config |= {"Entrypoint": [*PYTHON, "-c", script], "Cmd": []}
        created = self.client.create_container_from_config(config)  # type: ignore[no-untyped-call] # stubs lack it
        return str(created["Id"])

    def _exchange(self, container_id: str, stdin: bytes) -> Ended:
        attached = self.client.attach_socket(container_id, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        connection = attached._sock
        outputs = {STDOUT: b"", STDERR: b""}
        try:
            self.client.start(container_id)
            connection.sendall(stdin)
            connection.shutdown(socket.SHUT_WR)
            for stream, part in frames_iter(attached, tty=False):  # type: ignore[no-untyped-call] # the SDK's
                outputs[stream] += part
        finally:
            attached.close()
            connection.close()
        return Ended(outputs[STDOUT], outputs[STDERR], self.client.wait(container_id)["StatusCode"])
