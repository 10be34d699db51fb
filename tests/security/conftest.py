"""Containers made exactly as executions get them, on the installed image and model."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import docker
import pytest

from contracts.execution.run_request import RunRequest
from contracts.wire.types import IsolationTier
from supervisor.adapters.docker.making import ContainerMaker
from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.sandbox.container_engine import describe_container_engine
from supervisor.escape.cell import Cell
from supervisor.setup.images.runtime_image import build_runtime_image
from tests.fakes.installation import fixed_installation
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import make_home
from tests.security.cell import LABELS
from tests.silent_progress import SilentProgress

CALL_TIMEOUT_S = 120


@pytest.fixture(scope="session")
def hardened(weos_home: Path, docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """The tier that shares the host's kernel."""
    image = build_runtime_image(weos_home, "cpu_avx2", SilentProgress(), docker_host)
    store = ModelStore(Home(weos_home).models)
    fixed = fixed_installation()
    backend = replace(fixed.backends[0], image_id=image.image_id)
    installation = replace(fixed, models=store.list(), backends=(backend,))
    plan = plan_execution(RunRequest.model_validate_json(json.dumps(spec_request())), installation)
    client = docker.APIClient(base_url=docker_host, timeout=CALL_TIMEOUT_S)
    engine = describe_container_engine(client.version(), client.info())
    yield Cell(
        maker=ContainerMaker(client, engine, tmp_path_factory.mktemp("profiles")),
        plan=plan,
        policies=installation.policies,
        model_source=store.locate(plan.model).directory,
        cgroup_driver=engine.cgroup_driver,
        labels=LABELS,
    )
    client.close()


@pytest.fixture(scope="session", params=get_args(IsolationTier))
def cell(hardened: Cell, request: pytest.FixtureRequest) -> Cell:
    """Every tier."""
    return hardened.under(request.param)


@pytest.fixture
def own_home(tmp_path: Path, weos_home: Path) -> Home:
    return make_home(tmp_path / "home", weos_home)
