"""`make test-machines`: executions and attacks on container engines that are not this machine's own, as a table.

A row of its own is a function that gives the address of a container engine; add it to `MACHINES`.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from supervisor.adapters.home import default_home
from supervisor.domain.errors import EngineError
from supervisor.setup.host.container_engine import find_container_engine
from supervisor.setup.images.runtime_image import build_runtime_image
from tests.integration.conftest import make_home
from tests.machines.debian_tree import ensure_tree, run_in_tree
from tests.machines.podman_service import podman_service
from tests.machines.trial import BACKEND, attack, describe, execute
from tests.silent_progress import SilentProgress

OpenMachine = Callable[[str, str], AbstractContextManager[str]]


@contextmanager
def _own_docker(docker_host: str, image_id: str) -> Iterator[str]:
    del image_id
    yield docker_host


@contextmanager
def _podman(docker_host: str, image_id: str) -> Iterator[str]:
    if shutil.which("podman") is None:
        message = "podman is not installed: apt-get install --no-install-recommends podman"
        raise EngineError("engine_missing", message)
    with podman_service() as service:
        service.copy_image(docker_host, image_id)
        yield service.url


@contextmanager
def _podman_of_debian_13(docker_host: str, image_id: str) -> Iterator[str]:
    home = default_home().resolve()
    with podman_service(prefix=run_in_tree(ensure_tree(home), home)) as service:
        service.copy_image(docker_host, image_id)
        yield service.url


MACHINES: Mapping[str, OpenMachine] = {
    "docker": _own_docker,
    "podman": _podman,
    "podman-debian-13": _podman_of_debian_13,
}


def _try(name: str, open_machine: OpenMachine, docker_host: str, image_id: str, installed: Path) -> tuple[str, bool]:
    with tempfile.TemporaryDirectory() as directory, open_machine(docker_host, image_id) as url:
        home = make_home(Path(directory) / "home", installed)
        engine = describe(url)
        ran = asyncio.run(execute(home, url))
        if ran.verdict != "VALID":
            return f"| {name} | {engine} | no | {ran.verdict} | {ran.seconds:.1f} s | |", False
        counts, seconds = attack(home, url)
        is_good = counts["allowed"] == counts["unexpected"] == 0
        told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
        mark = "yes" if is_good else "no"
        return f"| {name} | {engine} | {mark} | VALID | {ran.seconds:.1f} s | {told} in {seconds:.0f} s |", is_good


def main(names: list[str]) -> int:
    """Try the named machines, or all of them; return the exit status."""
    installed, docker_host = default_home(), find_container_engine()
    assert docker_host is not None
    image_id = build_runtime_image(installed, BACKEND, SilentProgress(), docker_host).image_id
    print(f"Seen on {datetime.now(UTC):%Y-%m-%d}\n")  # noqa: T201 - it is what this program is for
    print("| machine | container engine | works | record | cold execution | attacks |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- |", flush=True)  # noqa: T201
    failed = 0
    for name in names or list(MACHINES):
        try:
            row, is_good = _try(name, MACHINES[name], docker_host, image_id, installed)
        except EngineError as error:
            row, is_good = f"| {name} | | no | {error.code}: {error.detail} | | |", False
        failed += not is_good
        print(row, flush=True)  # noqa: T201
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
