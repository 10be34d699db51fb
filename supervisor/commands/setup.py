"""`weos-engine setup`: prepare container engine, runtime image and demonstration model, where they are missing."""

from dataclasses import dataclass

import click

from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.model_store import Claim, ModelStore
from supervisor.console.steps import ConsoleProgress, Progress
from supervisor.domain.errors import EngineError
from supervisor.setup.host.container_engine import ensure_container_engine
from supervisor.setup.images.demo_model import fetch_demo_model
from supervisor.setup.images.runtime_image import build_runtime_image

__all__ = ["DEMO_BACKEND", "DEMO_MODEL", "DEMO_QUANTIZATION", "command", "prepare"]

DEMO_BACKEND = "cpu_avx2"
DEMO_MODEL = "smollm2-135m-instruct"
DEMO_QUANTIZATION = "q4_1"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result of set-up."""

    home: Home
    docker_host: str


def _install_demo_model(home: Home, progress: Progress) -> None:
    store = ModelStore(home.models)
    if any((model.name, model.quantization) == (DEMO_MODEL, DEMO_QUANTIZATION) for model in store.list()):
        progress.unchanged("demonstration model")
        return
    source = fetch_demo_model(home.root, progress)
    total = source.stat().st_size
    with progress.step(
        "installing the demonstration model", "models are stored by the digest of their content"
    ) as step:
        done = 0

        def count(size: int) -> None:
            nonlocal done
            done += size
            step.update(done, total)

        store.add(DEMO_MODEL, source, Claim(DEMO_QUANTIZATION, "llama"), progress=count)


def prepare(home: Home, progress: Progress) -> Prepared:
    """Do every step that is not done yet.

    Raises:
        SetupError: something is missing; the message names it, says why it is needed and how to fix it.
    """
    if ":" in str(home.root):
        # The container engine's mount syntax cannot escape a colon.
        raise EngineError("home_unusable", f"{home.root} has a colon in its path; choose another WEOS_HOME")
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    docker_host = ensure_container_engine(home.root, progress)
    build_runtime_image(home.root, DEMO_BACKEND, progress, docker_host)
    _install_demo_model(home, progress)
    return Prepared(home, docker_host)


@click.command(name="setup")
def command() -> None:
    """Prepare everything that an execution needs."""
    prepared = prepare(Home(default_home()), ConsoleProgress())
    click.echo(f"Ready: container engine at {prepared.docker_host}, everything else in {prepared.home.root}")
