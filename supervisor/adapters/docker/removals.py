"""Removal of ended containers: beside everything else, bounded, and tried again until each is gone."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import docker
import requests
from docker.errors import DockerException, NotFound
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from supervisor.adapters.kernel.cgroup import remove_left_groups
from supervisor.adapters.kernel.placement import thaw_left_group
from supervisor.tasks import TaskSet

__all__ = ["Removals"]

_log = logging.getLogger(__name__)

_ENGINE_FAULTS = (DockerException, requests.RequestException, OSError)
# Removing one took 0.04-0.16 s. A call that hangs keeps its thread until the client's deadline; other calls of the
# container engine, among them the starts of other sandboxes, never wait for these threads.
THREADS = 4
# While more than this many ended containers are left, an execution waits for its own removal: each takes disk space and
# memory of the container engine. With two executions a second this is two minutes of an engine that removes nothing.
LEFT_MAX = 256
RETRY_S = 0.2
RETRY_MAX_S = 5.0
# After this many failed attempts a person should know.
LOUD_ATTEMPT = 3
CLOSE_S = 10.0


class Removals:
    """Removes containers of one container engine."""

    def __init__(self, client: docker.APIClient) -> None:
        """Remove through a client, whose containers they are."""
        self._client = client
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="removal")
        self._tasks = TaskSet()
        self._failures = 0

    def collect(self) -> tuple[Metric, ...]:
        """Return the numbers as metrics; Prometheus' library requires this name."""
        return (
            GaugeMetricFamily("weos_removals", "Ended containers that are not removed yet.", len(self._tasks)),
            CounterMetricFamily("weos_removal_failures", "Removals of a container that failed.", self._failures),
        )

    def begin(self, name: str, container_id: str | None, done: Callable[[], None]) -> "asyncio.Task[None]":
        """Remove a container beside everything else.

        Args:
            name: the container's, which is known before it is there.
            container_id: which its control groups are named after; None: there may be none.
            done: called when it is gone.
        """
        return self._tasks.begin(self._remove_until_gone(name, container_id, done), name=f"remove-{name}")

    @property
    def is_crowded(self) -> bool:
        """Whether so much is left that the caller should wait for the removal it begins."""
        return len(self._tasks) > LEFT_MAX

    async def try_once(self, name: str) -> bool:
        """Return whether a container is gone."""
        remove = partial(self._client.remove_container, name, force=True, v=True)
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, remove)
        except NotFound:
            return True
        except _ENGINE_FAULTS as error:
            # Among them 409: its removal is already under way.
            self._failures += 1
            _log.warning("a container could not be removed (%s): %s", type(error).__name__, name)
            return False
        return True

    async def close(self) -> None:
        """Wait a while for what is under way; what is left then is left to the next supervisor."""
        await self._tasks.wait(timeout_s=CLOSE_S)
        await self._tasks.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _remove_until_gone(self, name: str, container_id: str | None, done: Callable[[], None]) -> None:
        attempt = 0
        try:
            while not await self.try_once(name):
                attempt += 1
                if attempt == LOUD_ATTEMPT:
                    _log.error("a container cannot be removed yet; it is tried again until it is gone: %s", name)
                if container_id is not None:
                    await asyncio.to_thread(thaw_left_group, container_id)
                await asyncio.sleep(min(RETRY_MAX_S, RETRY_S * attempt))
        finally:
            done()
        if container_id is not None:
            await asyncio.to_thread(remove_left_groups, container_id)
