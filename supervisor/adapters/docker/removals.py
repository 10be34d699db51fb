"""Removal of ended containers: beside everything else, bounded, and tried again until each is gone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import docker
import requests
from docker.errors import DockerException, NotFound

from supervisor.adapters.kernel.cgroup import remove_left_groups
from supervisor.adapters.kernel.placement import thaw_left_group

__all__ = ["Removals"]

_log = logging.getLogger(__name__)

_ENGINE_FAULTS = (DockerException, requests.RequestException, OSError)
# Removing one took 0.04-0.16 s. While more than this many are under way, an execution waits for its own removal.
AT_ONCE = 16
RETRY_S = 0.2
RETRY_MAX_S = 5.0
# After this many failed attempts a person should know.
LOUD_ATTEMPT = 3
CLOSE_S = 10.0


class Removals:
    """Removes containers of one container engine."""

    def __init__(self, client: docker.APIClient, call: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """Remove through a client.

        Args:
            client: whose containers they are.
            call: runs one of its calls beside the event loop.
        """
        self._client = client
        self._call = call
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, name: str, container_id: str | None, done: Callable[[], None]) -> "asyncio.Task[None]":
        """Remove a container beside everything else.

        Args:
            name: the container's, which is known before it is there.
            container_id: which its control groups are named after; None: there may be none.
            done: called when it is gone.
        """
        task = asyncio.create_task(self._remove_until_gone(name, container_id, done), name=f"remove-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def is_crowded(self) -> bool:
        """Whether too much is under way that the caller should wait for the removal it begins."""
        return len(self._tasks) > AT_ONCE

    async def try_once(self, name: str) -> bool:
        """Return whether a container is gone."""
        try:
            await self._call(partial(self._client.remove_container, name, force=True, v=True))
        except NotFound:
            return True
        except _ENGINE_FAULTS as error:
            # Among them 409: its removal is already under way.
            _log.warning("a container could not be removed (%s): %s", type(error).__name__, name)
            return False
        return True

    async def close(self) -> None:
        """Wait a while for what is under way; what is left then is left to the next supervisor."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
