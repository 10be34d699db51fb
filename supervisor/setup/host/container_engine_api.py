"""The container engine as set-up uses it: builds, imports and throw-away containers, each with a deadline."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import requests

from supervisor.console.steps import Step
from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_address import Reach, explain_denied, reach

__all__ = [
    "BUILD_SILENCE_TIMEOUT_S",
    "SETUP_LABELS",
    "build_image",
    "find_image",
    "image_size_bytes",
    "inspect_image",
    "opened_container_engine",
    "remove_if_there",
    "removed_at_end",
]

# Longest silence of an ordinary request, and of a build, whose steps print nothing for a while.
ANSWER_TIMEOUT_S = 30
BUILD_SILENCE_TIMEOUT_S = 900
BUILD_TIMEOUT_S = 3600
LINES_SHOWN = 15
SETUP_LABELS = {"org.weos.setup": "1"}
_STEP_LINE = re.compile(r"Step (\d+)/(\d+) : ")
_PROXY_NAMES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@contextmanager
def opened_container_engine(
    docker_host: str, silence_timeout_s: int = ANSWER_TIMEOUT_S
) -> Iterator[docker.DockerClient]:
    """Give a client of the container engine; its errors become SetupErrors.

    Raises:
        SetupError: engine_unreachable, engine_forbidden or engine_failed.
    """
    found = reach(docker_host)
    if found is Reach.DENIED:
        raise SetupError("engine_forbidden", explain_denied(docker_host))
    if found is Reach.SILENT:
        message = f"nothing listens at {docker_host}; start the container engine there: make setup"
        raise SetupError("engine_unreachable", message)
    try:
        client = docker.DockerClient(base_url=docker_host, timeout=silence_timeout_s)
        try:
            yield client
        finally:
            client.close()
    # First, because the SDK's answers from a living container engine are RequestExceptions too.
    except docker.errors.DockerException as error:
        message = f"the container engine at {docker_host} refused ({error}). Look at it: docker info"
        raise SetupError("engine_failed", message) from error
    except requests.RequestException as error:
        message = f"the container engine at {docker_host} does not answer ({error}). Look at it: docker info"
        raise SetupError("engine_unreachable", message) from error


def inspect_image(client: docker.DockerClient, reference: str) -> dict[str, Any]:
    """Return what the container engine knows of an image."""
    details: dict[str, Any] = client.api.inspect_image(reference)  # type: ignore[no-untyped-call] # the SDK's
    return details


def find_image(client: docker.DockerClient, image_id: str) -> bool:
    """Return whether the container engine has this image."""
    try:
        inspect_image(client, image_id)
    except docker.errors.ImageNotFound:
        return False
    return True


def image_size_bytes(client: docker.DockerClient, image_id: str) -> int:
    """Return the size of an image's files."""
    return int(inspect_image(client, image_id)["Size"])


def build_image(
    client: docker.DockerClient,
    context: Path,
    dockerfile: str,
    arguments: dict[str, str],
    tag: str,
    step: Step,
) -> str:
    """Build with the container engine's classic builder, which needs neither a docker program nor BuildKit.

    Returns:
        The image's id.

    Raises:
        SetupError: image_build_failed.
    """
    proxies = {name: os.environ[name] for name in _PROXY_NAMES if name in os.environ}
    events = client.api.build(
        path=str(context),
        dockerfile=dockerfile,
        tag=tag,
        rm=True,
        forcerm=True,
        buildargs={**proxies, **arguments},
        labels=SETUP_LABELS,
        decode=True,
    )
    watch = _BuildEvents(step)
    deadline_s = time.monotonic() + BUILD_TIMEOUT_S
    for event in events:
        if time.monotonic() > deadline_s:
            watch.error = f"not finished after {BUILD_TIMEOUT_S} s"
            break
        watch.take(event)
    if watch.error or watch.image_id is None:
        tail = "\n  ".join(watch.lines)
        message = (
            f"building {tag} failed: {watch.error or 'the container engine named no image'}\n  {tail}\n"
            "If packages could not be fetched, check that containers can reach Debian's packages. Then: make setup"
        )
        raise SetupError("image_build_failed", message)
    return str(inspect_image(client, watch.image_id)["Id"])


class _BuildEvents:
    """The state of a build, from its events: progress, image and error."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._position = (0, 1)
        self._packages = 0
        self._package_lines = 0
        self.lines: list[str] = []
        self.image_id: str | None = None
        self.error: str | None = None

    def take(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self.error = str(event["error"])
        if "ID" in event.get("aux", {}):
            self.image_id = str(event["aux"]["ID"])
        for line in str(event.get("stream", "")).splitlines():
            if line.strip():
                self._take_line(line.strip())

    def _take_line(self, line: str) -> None:
        self.lines = [*self.lines[-(LINES_SHOWN - 1) :], line]
        match = _STEP_LINE.match(line)
        if match:
            self._position = (int(match[1]) - 1, int(match[2]))
        words = line.split()
        if "newly" in words:
            self._packages = int(words[words.index("newly") - 1])
        # apt prints these three for each package.
        if line.startswith(("Get:", "Unpacking ", "Setting up ")):
            self._package_lines += 1
        within = self._package_lines / (3 * self._packages) if self._packages else 0.0
        done, total = self._position
        self._step.update(done + min(within, 1.0), total, line)


def remove_if_there(client: docker.DockerClient, container_name: str) -> None:
    """Remove a container, running or not."""
    with contextlib.suppress(docker.errors.NotFound):
        client.api.remove_container(container_name, force=True, v=True)


@contextmanager
def removed_at_end(client: docker.DockerClient, container_id: str, deadline_s: float | None = None) -> Iterator[None]:
    """Remove a container when the block ends, and kill it at a deadline within."""
    timer = threading.Timer(deadline_s, client.api.kill, (container_id,)) if deadline_s else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()
        client.api.remove_container(container_id, force=True, v=True)
