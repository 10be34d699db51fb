"""`weos-engine models remove`: forget a model."""

import click

from supervisor.commands.models.installed import choose_quantizations, open_store

__all__ = ["command"]

FOLLOWS = {
    "deleted": "its file is deleted",
    "shared": "its file is kept, because another name uses it",
    "in_use": "its file is deleted when the last sandbox that uses it ends",
}


@click.command(name="remove")
@click.argument("name")
@click.option("--quantization", help="Only this quantization; required where NAME has several.")
def command(name: str, quantization: str | None) -> None:
    """Remove NAME, and delete its file unless another name or a sandbox uses it."""
    store = open_store()
    found = choose_quantizations(store, name, quantization)
    if len(found) > 1:
        message = f"{name} has several quantizations ({', '.join(found)}); name one with --quantization"
        raise click.ClickException(message)
    removal = store.remove(name, found[0])
    click.echo(f"{name} {found[0]} is removed; {FOLLOWS[removal]}")
