"""`weos-engine models list`: the installed models."""

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from supervisor.commands.models.installed import open_store
from supervisor.commands.models.model_view import describe_bytes
from supervisor.commands.models.signature import describe_signer
from supervisor.console.printable import printable

__all__ = ["command"]


@click.command(name="list")
def command() -> None:
    """List the installed models; `models show NAME` tells more of each."""
    table = Table("name", "quantization", "context", "size", "chat", "signer")
    # Never cut: a name is what other commands take.
    table.columns[0].overflow = table.columns[-1].overflow = "fold"
    for model in open_store().list():
        signer = describe_signer(None if model.signature is None else model.signature.signer)
        table.add_row(
            model.name,
            model.quantization,
            str(model.context_length),
            describe_bytes(model.size_bytes),
            "yes" if model.chat_template else "no",
            # A name in a certificate is text of somebody else.
            Text(printable(signer)),
        )
    Console().print(table)
