"""`weos-engine models list`: the installed models."""

from collections.abc import Iterable

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from supervisor.commands.models.installed import open_store
from supervisor.commands.models.model_view import describe_bytes
from supervisor.commands.models.signature import describe_signer
from supervisor.console.printable import printable
from supervisor.domain.planning.installation import InstalledModel

__all__ = ["command"]

DIGEST_CHARS = len("sha256:") + 12


@click.command(name="list")
def command() -> None:
    """List the installed models; `models show NAME` tells more of each."""
    models = open_store().list()
    table = Table("name", "quantization", "context", "size", "chat", "signer")
    # A column of its own would fold names on a narrow terminal, so it is there only where it says something.
    shows_parents = any(model.parent for model in models)
    if shows_parents:
        table.add_column("made from")
    # Never cut: a name is what other commands take.
    table.columns[0].overflow = table.columns[5].overflow = "fold"
    for model in models:
        signer = describe_signer(None if model.signature is None else model.signature.signer)
        cells = [
            model.name,
            model.quantization,
            str(model.context_length),
            describe_bytes(model.size_bytes),
            "yes" if model.chat_template else "no",
            # A name in a certificate is text of somebody else.
            Text(printable(signer)),
        ]
        table.add_row(*cells, *([_describe_parent(model, models)] if shows_parents else []))
    Console().print(table)


def _describe_parent(model: InstalledModel, models: Iterable[InstalledModel]) -> str:
    """Return what a model was quantized from: an installed model, else the beginning of a digest."""
    if model.parent is None:
        return "-"
    for other in models:
        if other.sha256 == model.parent:
            return other.quantization if other.name == model.name else f"{other.name} {other.quantization}"
    return model.parent[:DIGEST_CHARS]
