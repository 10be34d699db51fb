"""A group of commands, each in a module of its own that is loaded only when the command is called.

So a command needs no more packages than it imports.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group whose commands are the attribute ``command`` of one module each."""

    def __init__(
        self,
        *,
        package: str,
        summaries: Mapping[str, str],
        elsewhere: Mapping[str, str] | None = None,
        **attributes: Any,  # noqa: ANN401 - click's
    ) -> None:
        """Describe the commands without importing them.

        Args:
            package: the package whose modules are the commands, each named as its command.
            summaries: command -> one line for the help text.
            elsewhere: command -> full name of its module, for commands that are not in the package.
            attributes: passed on to ``click.Group``.
        """
        super().__init__(**attributes)
        self._package = package
        self._summaries = summaries
        self._elsewhere = elsewhere or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, sorted."""
        del ctx
        return sorted(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; None means that there is none of this name."""
        del ctx
        if cmd_name not in self._summaries:
            return None
        module = self._elsewhere.get(cmd_name, f"{self._package}.{cmd_name}")
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
