"""`weos-engine models add`: copy a GGUF file into the store."""

from pathlib import Path

import click

from supervisor.commands.models.installed import open_store
from supervisor.console.bar import show_progress

__all__ = ["command"]


@click.command(name="add")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--quantization", required=True, help="Quantization of FILE, such as q4_k_m; compared with its header.")
@click.option("--architecture", help="Architecture of FILE, such as llama; compared with its header if given.")
def command(name: str, file: Path, quantization: str, architecture: str | None) -> None:
    """Copy the GGUF FILE into the store as NAME, after checking its header."""
    with show_progress("copying and hashing bytes", file.stat().st_size) as bar:
        model = open_store().add(name, quantization, file, architecture=architecture, progress=bar.step)
    click.echo(f"{model.name} {model.quantization} ({model.architecture}) is installed as {model.sha256}")
