"""The same container as that of an execution, with another command in it."""

import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import docker

from contracts.execution.execution_plan import ExecutionPlan
from contracts.wire.types import IsolationTier
from supervisor.adapters.docker.attach import STDERR, STDOUT, attach, read_frame
from supervisor.adapters.docker.making import ContainerMaker
from supervisor.domain.policies.policy import Policies
from supervisor.domain.sandbox.hardening import build_container_config
from supervisor.domain.sandbox.recipe import recipe_of

__all__ = ["PYTHON", "Cell", "Ended"]

PYTHON = ("/usr/bin/python3.11", "-I", "-S", "-B")
# How long an attack may be silent before its container is killed. Filling memory takes seconds, everything else takes
# milliseconds.
SILENCE_S = 120
OUTPUT_BYTES_MAX = 4_194_304
# The shell's convention, which the container engine follows: a status above this names the signal.
SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a container: both outputs and its exit status. None means that it had to be killed."""

    output: bytes
    errors: bytes
    status: int | None

    @property
    def reason(self) -> str:
        """How the container ended, in one or two words."""
        if self.status is None:
            return "killed"
        try:
            return signal.Signals(self.status - SIGNALLED).name
        except ValueError:
            return f"status {self.status}"


@dataclass(frozen=True)
class Cell:
    """Creates containers as the plan and the policies require."""

    maker: ContainerMaker
    plan: ExecutionPlan
    policies: Policies
    model_source: str
    cgroup_driver: str
    cpus: tuple[int, ...] = (0,)
    labels: Mapping[str, str] = field(default_factory=dict)
    silence_s: int = SILENCE_S

    @property
    def client(self) -> docker.APIClient:
        """The client of the container engine."""
        return self.maker.client

    def under(self, tier: IsolationTier) -> "Cell":
        """Return a cell that creates the same containers in another tier."""
        return replace(self, plan=self.plan.model_copy(update={"isolation": tier}))

    def run(self, script: str | None = None, *, stdin: bytes = b"", **host: Any) -> Ended:  # noqa: ANN401 - any setting
        """Run the image's own command, or a script in its interpreter.

        Args:
            script: program for the interpreter; None means the image's own command.
            stdin: bytes for standard input.
            host: replacements of host settings, for tests of their effect.

        Raises:
            EngineError: ``limit_unenforceable`` if the container engine drops a limit and only warns about it.
        """
        container_id = self.create(script, host)
        try:
            return self._exchange(container_id, stdin)
        finally:
            self.client.remove_container(container_id, force=True, v=True)

    def config(self) -> dict[str, Any]:
        """Return the body of the create call, exactly as for an execution."""
        return build_container_config(
            recipe_of(self.plan),
            self.policies.sandbox,
            self.policies.seccomp,
            model_source=self.model_source,
            cpus=self.cpus,
            labels=self.labels,
            cgroup_driver=self.cgroup_driver,
        )

    def create(self, script: str | None, host: Mapping[str, Any]) -> str:
        """Create a container without starting it; raises as `run`."""
        config = self.config()
        config["HostConfig"] |= host
        if script is not None:
            config |= {"Entrypoint": [*PYTHON, "-c", script], "Cmd": []}
        return self.maker.create(config)

    def _exchange(self, container_id: str, stdin: bytes) -> Ended:
        connection = attach(self.client, container_id)
        connection.settimeout(self.silence_s)
        outputs = {STDOUT: b"", STDERR: b""}
        try:
            self.client.start(container_id)
            with suppress(BrokenPipeError):
                # Podman closes the stream of a container that has ended; what it wrote can still be read.
                connection.sendall(stdin)
                connection.shutdown(socket.SHUT_WR)
            while frame := read_frame(connection):
                stream, content = frame
                outputs[stream] += content
                if len(outputs[stream]) > OUTPUT_BYTES_MAX:
                    return Ended(outputs[STDOUT], outputs[STDERR], None)
        except TimeoutError:
            return Ended(outputs[STDOUT], outputs[STDERR], None)
        finally:
            connection.close()
        return Ended(outputs[STDOUT], outputs[STDERR], int(self.client.wait(container_id)["StatusCode"]))
