"""Containers through the Engine API (Docker, or Podman's compatible socket).

Blocking calls of the SDK run in a small thread pool; the stream of one execution is asyncio on the attached socket.
"""

import asyncio
import logging
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from prometheus_client.registry import Collector

from supervisor.adapters.docker.attach import attach
from supervisor.adapters.docker.container import DockerSandbox, StartedContainer
from supervisor.adapters.docker.frames import AttachedStream
from supervisor.adapters.docker.making import ContainerMaker
from supervisor.adapters.docker.removals import Removals
from supervisor.adapters.kernel.cgroup import prepare_parent, remove_left_groups
from supervisor.adapters.kernel.first_process import FirstProcess
from supervisor.adapters.kernel.mapped_files import MappedFileReader
from supervisor.adapters.kernel.placement import find_placement, thaw_left_group
from supervisor.domain.errors import EngineError, ExecutionFault, Refusal
from supervisor.domain.sandbox.container_engine import describe_container_engine
from supervisor.domain.sandbox.isolation import RegisteredRuntime, fault_of_start, read_runtimes
from supervisor.domain.sandbox.ports import ExitStatus, Sandbox
from supervisor.tasks import carry_through

__all__ = ["INSTANCE_LABEL", "DockerSandboxes"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# One call of the Engine API; starting a container took 0.2-0.3 s, removing one 0.04 s on two busy cores.
CALL_TIMEOUT_S = 30
# From SIGKILL to the end of a container's first process; then its CPUs are free.
KILL_WAIT_S = 5.0
# Where its end could not be seen.
REMOVAL_WAIT_S = 5.0
# After the stream ends the container engine needs a moment to know the exit status.
EXIT_WAIT_S = 5
INSTANCE_LABEL = "weos.instance"
_ENGINE_FAULTS = (DockerException, requests.RequestException, OSError)
_DOWN = "the container engine does not answer; start it (systemctl start docker) or set DOCKER_HOST"


class DockerSandboxes:
    """Makes and destroys containers on one container engine."""

    def __init__(self, maker: ContainerMaker, instance_id: str) -> None:
        self._maker = maker
        self._client = client = maker.client
        self._instance_id = instance_id
        self._open: set[str] = set()
        self._unused_volumes: frozenset[str] = frozenset()
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="engine-api")
        self._removals = Removals(client)
        self.cgroup_driver = maker.engine.cgroup_driver
        self.mapped_files = MappedFileReader()

    @property
    def metrics(self) -> Collector:
        """What Prometheus is told of the container engine."""
        return self._removals

    @classmethod
    async def connect(cls, docker_host: str, instance_id: str, profiles: Path) -> "DockerSandboxes":
        """Agree with the container engine on an API version.

        Args:
            docker_host: URL of the container engine.
            instance_id: labels the containers that are this supervisor's.
            profiles: directory for system call filters, which Podman reads from files.

        Raises:
            EngineError: ``engine_unavailable``, or ``engine_unsupported`` where executions cannot run with it.
        """
        make = partial(docker.APIClient, base_url=docker_host, version="auto", timeout=CALL_TIMEOUT_S)
        try:
            client = await asyncio.to_thread(make)
            information = await asyncio.to_thread(client.info)
            engine = describe_container_engine(await asyncio.to_thread(client.version), information)
        except _ENGINE_FAULTS as error:
            raise EngineError("engine_unavailable", _DOWN) from error
        if engine.obstacle is not None:
            client.close()
            raise EngineError("engine_unsupported", engine.obstacle)
        return cls(ContainerMaker(client, engine, profiles), instance_id)

    async def require_image(self, image_id: str) -> None:
        """See ``ports.SandboxPort``."""
        try:
            await self._call(partial(self._client.inspect_image, image_id))
        except ImageNotFound as error:
            detail = f"image {image_id} is not in the container engine; build it with: weos-engine images build"
            raise Refusal("image_missing", detail) from error
        except _ENGINE_FAULTS as error:
            raise Refusal("engine_unavailable", _DOWN) from error

    async def runtimes(self) -> Mapping[str, RegisteredRuntime]:
        """See ``ports.SandboxPort``."""
        try:
            return read_runtimes(await self._call(self._client.info), shutil.which)
        except _ENGINE_FAULTS as error:
            raise Refusal("engine_unavailable", _DOWN) from error

    async def is_up(self) -> bool:
        """See ``ports.SandboxPort``."""
        try:
            return bool(await self._call(self._client.ping))
        except _ENGINE_FAULTS:
            return False

    async def reap(self) -> int:
        """See ``ports.SandboxPort``."""
        listing = partial(self._client.containers, all=True, filters={"label": f"{INSTANCE_LABEL}={self._instance_id}"})
        try:
            containers = await self._call(listing)
        except _ENGINE_FAULTS:
            _log.warning("left-over containers cannot be looked for: the container engine does not answer")
            return 0
        # The container engine puts a slash before a name.
        left = [each["Id"] for each in containers if not self._open.intersection(n.lstrip("/") for n in each["Names"])]
        # Where that fails the next look tries again.
        removed = sum([await self._remove_left(container_id) for container_id in left])
        await self._reap_volumes()
        return removed

    async def _reap_volumes(self) -> None:
        """Remove mounts that are left because the container engine was killed while it made or removed a container."""
        filters = {"dangling": True, "label": f"{INSTANCE_LABEL}={self._instance_id}"}
        try:
            answer = await self._call(partial(self._client.volumes, filters=filters))
            unused = frozenset(str(each["Name"]) for each in answer["Volumes"] or ())
            # One that is just being made has no container either: only what had none at the last look too is left over.
            for name in unused & self._unused_volumes:
                await self._call(partial(self._client.remove_volume, name))
            self._unused_volumes = unused
        except _ENGINE_FAULTS as error:
            _log.warning("left-over volumes could not be removed: %s", type(error).__name__)

    async def _remove_left(self, container_id: str) -> bool:
        await asyncio.to_thread(thaw_left_group, container_id)
        is_gone = await self._removals.try_once(container_id)
        await asyncio.to_thread(remove_left_groups, container_id)
        return is_gone

    @asynccontextmanager
    async def open(self, name: str, config: dict[str, Any], *, model: str, output_bytes: int) -> AsyncIterator[Sandbox]:
        """See ``ports.SandboxPort``."""
        labelled = _label(config, {INSTANCE_LABEL: self._instance_id})
        self._open.add(name)
        creating = asyncio.ensure_future(self._call(partial(self._create, labelled, name)))
        starting: asyncio.Future[StartedContainer] | None = None
        stream = AttachedStream(output_bytes)
        try:
            try:
                container_id, attached = await asyncio.shield(creating)
                await asyncio.get_running_loop().create_connection(lambda: stream, sock=attached)
                # Carried through, as its creation is: what it takes hold of must be found at the end.
                starting = asyncio.ensure_future(self._call(partial(self._start, container_id)))
                started = await asyncio.shield(starting)
            except NotFound as error:
                detail = "the runtime image or the container went away before the start"
                raise ExecutionFault("image_missing", detail) from error
            except APIError as error:
                # It answers, and says no: a mount that has gone, a runtime that is not there, a limit it cannot set.
                raise fault_of_start(config["HostConfig"]["Runtime"], str(error.explanation or error)) from error
            except _ENGINE_FAULTS as error:
                raise ExecutionFault("engine_unavailable", f"{_DOWN} ({type(error).__name__})") from error
            sandbox = DockerSandbox(
                container_id,
                started,
                stream,
                model=model,
                ask_exit_status=self.exit_status,
                mapped_files=self.mapped_files,
            )
            try:
                yield sandbox
            finally:
                sandbox.let_go()
        finally:
            # A cancellation that arrives only now is not raised: it would take the place of the fault that ended the
            # sandbox, and a time limit would then be named as the reason.
            with suppress(asyncio.CancelledError):
                await carry_through(self._end(name, creating, starting, stream))

    async def exit_status(self, container_id: str) -> ExitStatus | None:
        """Return how a container ended, or None if the container engine does not say in time."""
        try:
            async with asyncio.timeout(EXIT_WAIT_S):
                while True:
                    state = (await self._call(partial(self._client.inspect_container, container_id)))["State"]
                    if not state["Running"]:
                        return ExitStatus(int(state["ExitCode"]), bool(state["OOMKilled"]))
                    await asyncio.sleep(0.05)
        except (TimeoutError, *_ENGINE_FAULTS):
            return None

    async def close(self) -> None:
        """Give back threads and connections; what is still to be removed is left to the next supervisor's `reap`."""
        await self._removals.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def _call(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def _create(self, config: dict[str, Any], name: str) -> tuple[str, socket.socket]:
        if self.cgroup_driver == "cgroupfs":
            prepare_parent(config["HostConfig"].get("CgroupParent", ""))
        container_id = self._maker.create(config, name)
        attached = attach(self._client, container_id)
        attached.setblocking(False)
        return container_id, attached

    def _start(self, container_id: str) -> StartedContainer:
        self._client.start(container_id)
        details = self._client.inspect_container(container_id)
        pid = int(details["State"]["Pid"])
        return StartedContainer(
            pid=pid,
            image_id=str(details["Image"]),
            host_config=self._maker.read_settings(container_id, details),
            process=FirstProcess.of(pid, container_id),
            placement=find_placement(pid),
            at_ns=time.monotonic_ns(),
        )

    async def _end(
        self,
        name: str,
        creating: "asyncio.Future[tuple[str, socket.socket]]",
        starting: "asyncio.Future[StartedContainer] | None",
        stream: AttachedStream,
    ) -> None:
        # The attachment goes first: while a client holds it unread, the container engine's kill and remove hang (moby
        # #41827).
        stream.abort()
        container_id = None
        try:
            container_id, attached = await creating
            if not stream.is_attached:
                attached.close()
        except (ExecutionFault, *_ENGINE_FAULTS):
            pass  # Nothing was attached, but a container may have been made: it is removed by name.
        has_ended = False
        if starting is not None:
            with suppress(*_ENGINE_FAULTS):
                has_ended = await _kill(await starting)
        removal = self._removals.begin(name, container_id, partial(self._open.discard, name))
        # What no longer runs needs no CPU and no caller's time.
        if not has_ended or self._removals.is_crowded:
            await asyncio.wait({removal}, timeout=REMOVAL_WAIT_S)


def _label(config: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    """Return a create body whose container, and the volume of each of its mounts, can be found by these labels."""
    host = config["HostConfig"]
    mounts = [
        {**each, "VolumeOptions": {**each["VolumeOptions"], "Labels": labels}} if "VolumeOptions" in each else each
        for each in host.get("Mounts", [])
    ]
    return {**config, "Labels": {**config["Labels"], **labels}, "HostConfig": {**host, "Mounts": mounts}}


async def _kill(started: StartedContainer) -> bool:
    """End a container's processes; return whether they have ended."""
    if started.process is not None:
        started.process.kill()
    if started.placement is not None:
        # A frozen process of version 1 gets the signal when it is thawed.
        with suppress(OSError):
            started.placement.thaw()
    return started.process is not None and await started.process.wait_ended(KILL_WAIT_S)
