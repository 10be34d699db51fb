"""`weos-engine install-service`: the supervisor as a service of systemd."""

import os
import sys
from pathlib import Path

import click

from supervisor.adapters.files import write_public
from supervisor.adapters.home import default_home
from supervisor.adapters.installation.backends import default_source_root
from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine import DOCKER_SOCKET, find_container_engine
from supervisor.setup.host.machine import is_systemd_running
from supervisor.setup.host.programs import run_command
from supervisor.setup.host.service import NAME, UNIT_DIRECTORY, find_places, render_unit

__all__ = ["command"]

RELOAD_TIMEOUT_S = 60.0


@click.command(name="install-service")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Serve on this TCP port of loopback too. Without it the API is on the socket of the home alone.",
)
@click.option("--print", "to_stdout", is_flag=True, help="Print the unit and install nothing.")
def command(port: int | None, to_stdout: bool) -> None:
    """Install a hardened unit for systemd, which serves this home (WEOS_HOME); it is not started."""
    source = default_source_root()
    template = (source / "deploy" / "systemd" / NAME).read_text(encoding="utf-8")
    places = find_places(default_home(), source)
    docker_host = find_container_engine() or f"unix://{DOCKER_SOCKET}"
    unit = render_unit(template, places, port=port, docker_host=docker_host)
    if to_stdout:
        sys.stdout.write(unit)
        return
    _require_service_manager(places.home)
    path = UNIT_DIRECTORY / NAME
    write_public(path, unit.encode("utf-8"))
    run_command(
        ("systemctl", "daemon-reload"),
        timeout_s=RELOAD_TIMEOUT_S,
        code="service_failed",
        purpose="tell systemd of the new unit",
    )
    click.echo(f"{path} is installed. Start it now and at each boot: systemctl enable --now {NAME}")


def _require_service_manager(home: Path) -> None:
    if not is_systemd_running():
        message = "systemd does not run here; look at the unit with --print, or run: weos-engine serve"
        raise SetupError("service_manager_missing", message)
    if os.geteuid() != 0:
        message = "a service of the whole machine is installed by root; run it with: sudo --preserve-env=WEOS_HOME"
        raise SetupError("root_needed", message)
    if not home.is_dir():
        message = f"{home} is not there yet, and the service prepares nothing; run: make setup"
        raise SetupError("home_missing", message)
