"""`weos-engine gvisor`: install and register the isolation tier `gvisor`; `make gvisor` calls it."""

import click

from supervisor.adapters.home import Home, default_home
from supervisor.console.steps import ConsoleProgress
from supervisor.setup.host.container_engine import ensure_container_engine, this_host
from supervisor.setup.host.gvisor import ContainerEngine, ensure_gvisor

__all__ = ["command"]


@click.command(name="gvisor")
@click.option("--yes", is_flag=True, help="Also change the configuration of a container engine that was here before.")
def command(yes: bool) -> None:
    """Install gVisor's runsc and register it with the container engine."""
    home, progress, host = Home(default_home()), ConsoleProgress(), this_host()
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    docker_host = ensure_container_engine(home.root, progress)
    ensure_gvisor(home.root, host, ContainerEngine.at(docker_host, host), progress, consent=yes)
    click.echo('Ready: requests may ask for "isolation": "gvisor"')
