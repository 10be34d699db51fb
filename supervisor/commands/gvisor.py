"""`weos-engine gvisor`: install and register the isolation tier `gvisor`; `make gvisor` calls it."""

import sys
from functools import partial
from pathlib import Path

import click

from supervisor.adapters.home import Home, default_home
from supervisor.console.steps import ConsoleProgress
from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine import ensure_container_engine, this_host
from supervisor.setup.host.gvisor import ContainerEngine, ensure_gvisor
from supervisor.setup.host.machine import Host

__all__ = ["command", "try_gvisor"]

# Reasons for which a machine can be without the tier, and everything else works.
DISPENSABLE = {"consent_needed", "gvisor_missing", "engine_config_unsound"}


def try_gvisor(home: Path, host: Host, container_engine: ContainerEngine, *, consent: bool) -> str | None:
    """Provide the tier; at a terminal ask for the consent that is missing.

    Returns:
        Why this machine is without the tier; None where it has it.

    Raises:
        SetupError: the container engine does not answer.
    """
    provide = partial(ensure_gvisor, home, host, container_engine, ConsoleProgress())
    try:
        provide(consent=consent)
    except SetupError as error:
        if error.code not in DISPENSABLE:
            raise
        if error.code != "consent_needed" or not sys.stdin.isatty():
            return error.detail
        click.echo(error.detail)
        if not click.confirm("Change it now?"):
            return "you did not agree to the change. To make it later: make gvisor YES=1"
        return try_gvisor(home, host, container_engine, consent=True)
    return None


@click.command(name="gvisor")
@click.option("--yes", is_flag=True, help="Also change the configuration of a container engine that was here before.")
@click.option("--or-without", is_flag=True, help="Ask at a terminal; say what is missing, and end with status 0.")
def command(yes: bool, or_without: bool) -> None:
    """Install gVisor's runsc and register it with the container engine."""
    home, host = Home(default_home()), this_host()
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    docker_host = ensure_container_engine(home.root, ConsoleProgress())
    container_engine = ContainerEngine.at(docker_host, host)
    if or_without:
        lacking = try_gvisor(home.root, host, container_engine, consent=yes)
        if lacking is not None:
            click.echo(f"Going on without the isolation tier gvisor; its tests are skipped: {lacking}")
            return
    else:
        ensure_gvisor(home.root, host, container_engine, ConsoleProgress(), consent=yes)
    click.echo('Ready: requests may ask for "isolation": "gvisor"')
