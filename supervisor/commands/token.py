"""`weos-engine token`: bearer tokens of the roles that may ask besides the operator."""

from typing import get_args

import click

from contracts.types import RoleName
from supervisor.home import Home, default_home

__all__ = ["command"]


@click.group(name="token")
def command() -> None:
    """Make tokens for agents."""


@command.command(name="create")
@click.argument("role", type=click.Choice(get_args(RoleName)))
def create(role: RoleName) -> None:
    """Make ROLE's token where it has none, and say where it lies; the token itself is never printed."""
    home = Home(default_home())
    path = home.token_file_of(role)
    was_there = path.exists()
    home.token(role)
    click.echo(
        f"{path}: {'it was there already' if was_there else 'made; a supervisor knows it from its next start on'}"
    )
