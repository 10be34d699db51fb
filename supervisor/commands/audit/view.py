"""Reports of an audit on a terminal: a line for each check, a verdict, and the same as JSON."""

import json
from collections.abc import Mapping, Sequence

import click

from contracts.verify.checks import Check

__all__ = ["describe_checks", "printable", "show_checks", "show_json", "show_not_proven", "show_verdict"]

NAME_WIDTH = 25


def printable(text: str) -> str:
    """Return foreign text without characters that a terminal would obey."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def show_checks(checks: Sequence[Check], planned: Sequence[str] = ()) -> None:
    """Print one line for each check.

    Args:
        checks: the checks that were made.
        planned: names of all checks; those that were not made are shown as not reached.
    """
    for check in checks:
        mark = click.style("ok  ", fg="green") if check.code == "OK" else click.style("FAIL", fg="red")
        code = "" if check.code == "OK" else f" [{check.code}]"
        click.echo(f"  {mark} {check.name:<{NAME_WIDTH}} {printable(check.message)}{code}")
    made = {check.name for check in checks}
    for name in planned:
        if name not in made:
            click.echo(f"  -    {name:<{NAME_WIDTH}} not reached")


def show_not_proven(statements: Sequence[str]) -> None:
    """Print what the verdict does not prove."""
    for statement in statements:
        click.echo(f"  not proven: {printable(statement)}")


def show_verdict(verdict: str) -> None:
    """Print the verdict on a line of its own."""
    click.echo(click.style(verdict, fg="green" if verdict == "VALID" else "red", bold=True))


def describe_checks(checks: Sequence[Check]) -> list[dict[str, str]]:
    """Return checks as values of JSON."""
    return [{"check": check.name, "code": check.code, "message": check.message} for check in checks]


def show_json(document: Mapping[str, object]) -> None:
    """Print one document."""
    click.echo(json.dumps(document, indent=1))
