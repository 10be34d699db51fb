"""`weos-engine models verify`: hash installed files again."""

import click

from supervisor.commands.models.installed import choose_quantizations, open_store
from supervisor.console.bar import show_progress

__all__ = ["command"]


@click.command(name="verify")
@click.argument("name")
@click.option("--quantization", help="Only this quantization; default: all of NAME.")
def command(name: str, quantization: str | None) -> None:
    """Hash the file of NAME and compare it with the installed digest."""
    store = open_store()
    sizes = {model.quantization: model.size_bytes for model in store.list() if model.name == name}
    for each in choose_quantizations(store, name, quantization):
        with show_progress(f"hashing bytes of {name} {each}", sizes.get(each, 0)) as bar:
            store.verify(name, each, bar.step)
        click.echo(f"{name} {each} is unchanged")
