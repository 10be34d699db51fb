"""The specification's request through Docker's API and through Podman's; Podman where it is installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.setup.images.runtime_image import build_runtime_image
from tests.integration.conftest import make_home
from tests.machines.podman_service import podman_service
from tests.machines.trial import BACKEND, execute
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

# Where Podman is not installed there is no test of it rather than a skipped one: `make test-machines` installs it.
ENGINES = ["docker", *(["podman"] if shutil.which("podman") else [])]


@pytest.fixture(params=ENGINES)
def address(request: pytest.FixtureRequest, weos_home: Path, docker_host: str) -> Iterator[str]:
    if request.param == "docker":
        yield docker_host
        return
    image = build_runtime_image(weos_home, BACKEND, SilentProgress(), docker_host)
    with podman_service() as service:
        service.copy_image(docker_host, image.image_id)
        yield service.url


async def test_the_specifications_request_is_executed_seen_from_outside_and_signed(
    address: str, weos_home: Path, tmp_path: Path
) -> None:
    tried = await execute(make_home(tmp_path / "home", weos_home), address)
    assert (tried.verdict, tried.start) == ("VALID", "cold")
