"""A group of commands of which each lies in a module of its own, loaded only when it is called.

So a command needs no more than what it imports, whatever else is installed.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """Commands are the attribute ``command`` of modules in one package."""

    def __init__(self, *, package: str, summaries: Mapping[str, str], **attributes: Any) -> None:  # noqa: ANN401 - click's
        """Take the package, and for each of its modules that is a command what it does."""
        super().__init__(**attributes)
        self._package = package
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, sorted."""
        del ctx
        return sorted(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command, None where there is none of this name."""
        del ctx
        if cmd_name not in self._summaries:
            return None
        module = f"{self._package}.{cmd_name}"
        command = importlib.import_module(module).command
        if not isinstance(command, click.Command):
            message = f"{module} defines no command"
            raise TypeError(message)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self._summaries.items()))
