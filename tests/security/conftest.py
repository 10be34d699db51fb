"""Containers made exactly as executions get them, on the installed image and model."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import docker
import pytest

from contracts.run_request import RunRequest
from contracts.types import IsolationTier
from supervisor.adapters.model_store import ModelStore
from supervisor.domain.planning import plan_execution
from supervisor.home import Home
from supervisor.setup.progress import SilentProgress
from supervisor.setup.runtime_image import build_runtime_image
from tests.fakes import fixed_installation, spec_request
from tests.security.cell import Cell

CALL_TIMEOUT_S = 120


@pytest.fixture(scope="session", params=get_args(IsolationTier))
def cell(weos_home: Path, docker_host: str, request: pytest.FixtureRequest) -> Iterator[Cell]:
    """Every attack is tried in every tier."""
    image = build_runtime_image(weos_home, "cpu_avx2", SilentProgress(), docker_host)
    store = ModelStore(Home(weos_home).models)
    fixed = fixed_installation()
    backend = replace(fixed.backends[0], image_id=image.image_id)
    installation = replace(fixed, models=store.list(), backends=(backend,))
    plan = plan_execution(RunRequest.model_validate_json(json.dumps(spec_request())), installation)
    client = docker.APIClient(base_url=docker_host, timeout=CALL_TIMEOUT_S)
    made = Cell(client, plan, installation.policies, store.locate(plan.model).directory)
    yield made.under(request.param)
    client.close()
