"""`weos-engine completion`: what a shell reads to complete our commands and options; click makes it."""

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]

PROGRAM = "weos-engine"
# The variable that click itself looks at when the shell asks for words.
VARIABLE = "_WEOS_ENGINE_COMPLETE"


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion for SHELL. For bash, put into ~/.bashrc: eval "$(weos-engine completion bash)"."""
    found = get_completion_class(shell)
    if found is None:
        message = f"click completes nothing in {shell}"
        raise click.ClickException(message)
    click.echo(found(click.get_current_context().find_root().command, {}, PROGRAM, VARIABLE).source())
