"""`weos-engine setup`: prepare container engine, runtime image and demonstration model, where they are missing."""

from dataclasses import dataclass

import click

from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.backends import default_source_root
from supervisor.adapters.kernel.host import read_host_facts
from supervisor.client.contained_supervisor import ContainedSupervisor
from supervisor.commands.supervising import contain
from supervisor.console.steps import ConsoleProgress, Progress
from supervisor.domain.errors import SetupError
from supervisor.domain.preflight import find_machine_obstacle
from supervisor.setup.host.container_engine import ensure_container_engine
from supervisor.setup.host.container_engine_facts import find_container_engine_obstacle
from supervisor.setup.host.machine_facts import read_machine_facts
from supervisor.setup.images.build_choice import backend_of_machine
from supervisor.setup.images.runtime_image import build_runtime_image
from supervisor.setup.models.catalogue import SMOLLM2_135M_INSTRUCT
from supervisor.setup.models.installing import ensure_model

__all__ = ["DEMO_MODEL", "DEMO_QUANTIZATION", "command", "prepare"]

DEMO_MODEL = SMOLLM2_135M_INSTRUCT.name
DEMO_QUANTIZATION = SMOLLM2_135M_INSTRUCT.quantization


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result of set-up."""

    home: Home
    docker_host: str
    backend: str
    """The one whose image was built, because this processor runs it."""
    contained: ContainedSupervisor | None
    """In which the supervisor runs; None: it runs as a process of this user."""


def prepare(
    home: Home, progress: Progress, *, model: str = DEMO_MODEL, accepted_terms: frozenset[str] = frozenset()
) -> Prepared:
    """Do every step that is not done yet.

    Args:
        home: place of the installation.
        progress: shows the steps.
        model: the model to install.
        accepted_terms: names of the terms of use that the user has accepted, such as `gemma`.

    Raises:
        SetupError: something is missing; the message names it, says why it is needed and how to fix it.
    """
    _require(find_machine_obstacle(read_machine_facts(home.root, default_source_root())))
    backend = backend_of_machine(read_host_facts())
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    docker_host = ensure_container_engine(home.root, progress)
    _require(find_container_engine_obstacle(docker_host, home.root))
    # First, because it may turn out that this user cannot have a supervisor here.
    contained = contain(home, docker_host, progress)
    build_runtime_image(home.root, backend, progress, docker_host)
    ensure_model(home, model, progress, accepted_terms=accepted_terms)
    return Prepared(home, docker_host, backend, contained)


def _require(obstacle: str | None) -> None:
    if obstacle is not None:
        raise SetupError("machine_unsuitable", obstacle)


@click.command(name="setup")
def command() -> None:
    """Prepare everything that an execution needs."""
    prepared = prepare(Home(default_home()), ConsoleProgress())
    click.echo(f"Ready: container engine at {prepared.docker_host}, everything else in {prepared.home.root}")
    if prepared.contained is not None:
        click.echo("This user is not root, so the supervisor runs in a container; every command finds it all the same")
