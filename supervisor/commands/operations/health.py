"""`weos-engine health`: whether the supervisor of this home can accept executions; for health checks of containers."""

import sys

import click

from supervisor.adapters.home import Home, default_home
from supervisor.client.engine_client import EngineClient

__all__ = ["command"]

HTTP_OK = 200


@click.command(name="health")
def command() -> None:
    """Ask the supervisor of this home how it is; the exit status is 0 only if it can accept executions."""
    answer = EngineClient(Home(default_home())).ask("GET", "/healthz")
    click.echo(answer.body.decode("utf-8", "replace"))
    if answer.status != HTTP_OK:
        sys.exit(1)
