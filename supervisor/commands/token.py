"""`weos-engine token`: bearer tokens of the roles that may submit requests."""

import re
from typing import get_args

import click

from contracts.wire.types import RoleName
from supervisor.adapters.home import Home, default_home

__all__ = ["command"]


@click.group(name="token")
def command() -> None:
    """Create tokens for agents."""


@command.command(name="create")
@click.argument("role", type=click.Choice(get_args(RoleName)))
@click.option(
    "--name", help="A further token of the role, for another agent, which then has its own turn in the queue."
)
def create(role: RoleName, name: str | None) -> None:
    """Create a token of ROLE if there is none, and print the path of its file; the token is never printed."""
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,31}", name):
        message = "up to 32 characters of a-z, 0-9, '.', '_' and '-'; the first is a letter or a digit"
        raise click.BadParameter(message, param_hint="--name")
    home = Home(default_home())
    path = home.token_file_of(role, name)
    was_there = path.exists()
    home.token(role, name)
    click.echo(f"{path}: {'already exists' if was_there else 'created; a supervisor accepts it from its next start'}")
