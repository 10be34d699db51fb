"""A supervisor in a container, started for the length of a block or in the foreground; for users who are not root."""

import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any, BinaryIO

import docker

from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from supervisor.domain.errors import EngineError
from supervisor.setup.host.container_engine_api import opened_container_engine
from supervisor.setup.host.supervisor_container import STOP_TIMEOUT_S, Placing, User, build_supervisor_container

__all__ = ["ContainedSupervisor", "container_name", "this_user"]

START_TIMEOUT_S = 60
POLL_S = 0.1
LINES_SHOWN = 10
CALL_TIMEOUT_S = 2 * STOP_TIMEOUT_S
MACHINE_FILES = ("/etc/machine-id",)
FORWARDED = {signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGTERM"}


def this_user() -> User:
    """Return the user of this process."""
    return User(os.geteuid(), tuple(dict.fromkeys((os.getegid(), *os.getgroups()))))


def container_name(home: Home) -> str:
    """Return the name of a home's supervisor as a container, by which a person can stop it."""
    return f"weos-supervisor-{home.instance_id()[:12]}"


@dataclass(frozen=True, slots=True)
class ContainedSupervisor:
    """The commands of one home that run in a container of the supervisor's image.

    Every method raises EngineError: ``home_taken``, ``supervisor_unplaceable``, ``engine_unavailable``, or what the
    container engine's client raises.
    """

    home: Home
    docker_host: str
    image_id: str
    user: User

    @property
    def name(self) -> str:
        """The name of the serving container."""
        return container_name(self.home)

    @contextmanager
    def served(self, client: EngineClient, log: Path) -> Iterator[None]:
        """Serve for the length of the block.

        Args:
            client: speaks to the home.
            log: file for the supervisor's output.
        """
        with self._started(["serve", "--port", "0"], self.name) as container:
            try:
                deadline_s = time.monotonic() + START_TIMEOUT_S
                # Another supervisor of this home would answer too, and outlive this block.
                while not client.is_served_by(container.pid()):
                    if not container.is_running() or time.monotonic() > deadline_s:
                        detail = f"the supervisor did not start; the end of its output:\n  {container.tail()}"
                        raise EngineError("engine_unavailable", detail)
                    time.sleep(POLL_S)
                yield
            finally:
                container.stop()
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("ab") as kept:
                    kept.write(container.output())

    def serve(self, arguments: Sequence[str]) -> int:
        """Serve in the foreground until told to stop; return the exit status."""
        return self._run(arguments, self.name)

    def run(self, arguments: Sequence[str]) -> int:
        """Run another command of the command line; return its exit status."""
        return self._run(arguments, f"{self.name}-{secrets.token_hex(4)}")

    def _run(self, arguments: Sequence[str], name: str) -> int:
        with self._started(arguments, name) as container, container.forwarded_signals():
            complaints = Thread(target=container.show, args=("stderr", sys.stderr.buffer), daemon=True)
            complaints.start()
            container.show("stdout", sys.stdout.buffer)
            complaints.join()
            return container.wait()

    @contextmanager
    def _started(self, arguments: Sequence[str], name: str) -> Iterator["_Container"]:
        with opened_container_engine(self.docker_host, CALL_TIMEOUT_S) as client:
            _require_free(client, name)
            config = build_supervisor_container(self.image_id, arguments, self._placing(client.info()))
            made = client.api.create_container_from_config(config, name)  # type: ignore[no-untyped-call] # the SDK's
            container = _Container(self.docker_host, client, made["Id"])
            try:
                client.api.start(container.container_id)
                yield container
            finally:
                client.api.remove_container(container.container_id, force=True, v=True)

    def _placing(self, information: dict[str, Any]) -> Placing:
        options = frozenset(information.get("SecurityOptions") or ())
        files = tuple(path for path in MACHINE_FILES if Path(path).is_file())
        return Placing(self.home.root, self.docker_host, self.user, options, files)


@dataclass(frozen=True, slots=True)
class _Container:
    """One container of the supervisor's image."""

    docker_host: str
    client: docker.DockerClient
    container_id: str

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.client.api.inspect_container(self.container_id)["State"]
        return state

    def pid(self) -> int:
        """Return its first process, as the host counts."""
        return int(self._state()["Pid"])

    def is_running(self) -> bool:
        """Return whether it has not ended."""
        return bool(self._state()["Running"])

    def output(self) -> bytes:
        """Return what it has said so far."""
        said: bytes = self.client.api.logs(self.container_id)
        return said

    def tail(self) -> str:
        """Return the last lines that it has said."""
        lines = self.output().decode("utf-8", "replace").splitlines()
        return "\n  ".join(lines[-LINES_SHOWN:])

    def show(self, stream: str, output: BinaryIO) -> None:
        """Copy what it writes to `stdout` or `stderr` until it ends."""
        with opened_container_engine(self.docker_host, CALL_TIMEOUT_S) as client:
            chosen = {name: name == stream for name in ("stdout", "stderr")}
            for text in client.api.logs(self.container_id, stream=True, follow=True, **chosen):
                output.write(text)
                output.flush()

    def wait(self) -> int:
        """Return its exit status once it has ended."""
        return int(self.client.api.wait(self.container_id)["StatusCode"])

    def stop(self) -> None:
        """Let it end running executions, as at SIGTERM on the host."""
        self.client.api.stop(self.container_id, timeout=STOP_TIMEOUT_S)

    @contextmanager
    def forwarded_signals(self) -> Iterator[None]:
        """Pass on what would end a supervisor in the foreground; a second one ends it at once there."""

        def forward(number: int, _: FrameType | None) -> None:
            # With a client of its own: the other one may be in the middle of a request. It may have just ended.
            with suppress(EngineError), opened_container_engine(self.docker_host, CALL_TIMEOUT_S) as client:
                client.api.kill(self.container_id, FORWARDED[signal.Signals(number)])

        before = {number: signal.signal(number, forward) for number in FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _require_free(client: docker.DockerClient, name: str) -> None:
    """Remove the container that a killed command left, unless it runs."""
    try:
        found = client.api.inspect_container(name)
    except docker.errors.NotFound:
        return
    if found["State"]["Running"]:
        detail = f"another supervisor of this home runs in the container {name}; use it, or stop it: docker stop {name}"
        raise EngineError("home_taken", detail)
    client.api.remove_container(name, force=True, v=True)
