"""`weos-engine models list`: the installed models."""

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from supervisor.commands.models.installed import open_store
from supervisor.commands.models.signature import describe_signer

__all__ = ["command"]


@click.command(name="list")
def command() -> None:
    """List the installed models."""
    table = Table("name", "quantization", "architecture", "context", "size", "signer", "sha256")
    for model in open_store().list():
        size = f"{model.size_bytes / 1e6:.1f} MB"
        digest = model.sha256.removeprefix("sha256:")
        signer = describe_signer(None if model.signature is None else model.signature.signer)
        table.add_row(
            model.name, model.quantization, model.architecture, str(model.context_length), size, escape(signer), digest
        )
    Console().print(table)
