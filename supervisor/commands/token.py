"""`weos-engine token`: bearer tokens of the roles that may ask besides the operator."""

import re
from typing import get_args

import click

from contracts.wire.types import RoleName
from supervisor.adapters.home import Home, default_home

__all__ = ["command"]


@click.group(name="token")
def command() -> None:
    """Make tokens for agents."""


@command.command(name="create")
@click.argument("role", type=click.Choice(get_args(RoleName)))
@click.option("--name", help="One more token of the role, for another agent: it has a turn of its own in the queue.")
def create(role: RoleName, name: str | None) -> None:
    """Make ROLE's token where it has none, and say where it lies; the token itself is never printed."""
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,31}", name):
        message = "up to 32 of: a-z, 0-9, '.', '_', '-'; the first one a letter or a digit"
        raise click.BadParameter(message, param_hint="--name")
    home = Home(default_home())
    path = home.token_file_of(role, name)
    was_there = path.exists()
    home.token(role, name)
    click.echo(
        f"{path}: {'it was there already' if was_there else 'made; a supervisor knows it from its next start on'}"
    )
