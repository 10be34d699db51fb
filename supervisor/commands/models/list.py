"""`weos-engine models list`: the installed models."""

import click
from rich.console import Console
from rich.table import Table

from supervisor.commands.models.installed import open_store

__all__ = ["command"]


@click.command(name="list")
def command() -> None:
    """List the installed models."""
    table = Table("name", "quantization", "architecture", "context", "size", "sha256")
    for model in open_store().list():
        size = f"{model.size_bytes / 1e6:.1f} MB"
        digest = model.sha256.removeprefix("sha256:")
        table.add_row(model.name, model.quantization, model.architecture, str(model.context_length), size, digest)
    Console().print(table)
