"""`weos-engine token`: bearer tokens of agents. A running supervisor knows each change with its next request."""

import re
from pathlib import Path
from typing import get_args

import click

from contracts.wire.types import RoleName
from supervisor.adapters.files import write_private
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.identity.tokens import create_token, list_tokens, revoke_stored_token
from supervisor.domain.access.tokens import OPERATOR
from supervisor.domain.errors import EngineError
from supervisor.domain.policies.roles import CallerLimits

__all__ = ["command"]

LIMIT = click.IntRange(min=1, max=1_000_000_000_000)


@click.group(name="token")
def command() -> None:
    """Create, list and revoke tokens of agents."""


@command.command(name="create")
@click.argument("role", type=click.Choice(get_args(RoleName)))
@click.option("--name", help="Name of the token, which lists and records show. By default the role.")
@click.option("--requests-per-minute", type=LIMIT, help="In the place of the role's limit, as the options below.")
@click.option("--executions-at-once", type=LIMIT, help="Executions that have not ended, waiting ones too.")
@click.option("--tokens-per-day", type=LIMIT, help="Tokens of prompts and answers.")
@click.option("--joules-per-day", type=LIMIT, help="Energy attributed to its executions.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Write the token here, for its owner alone.")
def create(role: RoleName, name: str | None, path: Path | None, **limits: int | None) -> None:
    """Create a token of ROLE and print it, this once: only its digest is kept."""
    chosen = role if name is None else name
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,31}", chosen):
        message = "up to 32 characters of a-z, 0-9, '.', '_' and '-'; the first is a letter or a digit"
        raise click.BadParameter(message, param_hint="--name")
    if path is not None and path.exists():
        raise click.BadParameter(f"{path} exists; remove it or choose another file", param_hint="--file")
    token = create_token(Home(default_home()), role, chosen, CallerLimits(**limits))
    if path is None:
        click.echo(token)
    else:
        write_private(path.absolute(), token.encode("ascii") + b"\n")
    where = "it is not shown again" if path is None else f"it is in {path}"
    click.echo(f"created the token '{chosen}' with the role '{role}'; it counts at once, and {where}", err=True)


@command.command(name="list")
def list_all() -> None:
    """List all tokens: name, role, when they were created, used and revoked."""
    rows: list[tuple[str, ...]] = [("name", "role", "created", "last used", "revoked")]
    for token in list_tokens(Home(default_home())):
        days = (token.created_at or "-", token.last_used_on or "never", token.revoked_at or "-")
        rows.append((token.name, token.role, *(day.partition("T")[0] for day in days)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command(name="revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke the token NAME: the next request with it is refused. Its executions and their records stay."""
    home = Home(default_home())
    if name == OPERATOR:
        detail = f"the operator's token is the file {home.token_file}: remove it, and the next command makes a new one"
        raise EngineError("token_unknown", detail)
    revoke_stored_token(home, name)
    click.echo(f"revoked the token '{name}'")
