"""`weos-engine models`: the content-addressed model store."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.console.bar import show_progress

__all__ = ["command"]


def _store() -> ModelStore:
    return ModelStore(Home(default_home()).models)


@click.group(name="models")
def command() -> None:
    """Add, list, verify and remove models."""


@command.command(name="add")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--quantization", required=True, help="Quantization of FILE, such as q4_k_m; compared with its header.")
@click.option("--architecture", help="Architecture of FILE, such as llama; compared with its header if given.")
def add(name: str, file: Path, quantization: str, architecture: str | None) -> None:
    """Copy the GGUF FILE into the store as NAME, after checking its header."""
    with show_progress("copying and hashing bytes", file.stat().st_size) as bar:
        model = _store().add(name, quantization, file, architecture=architecture, progress=bar.step)
    click.echo(f"{model.name} {model.quantization} ({model.architecture}) is installed as {model.sha256}")


@command.command(name="list")
def list_models() -> None:
    """List the installed models."""
    table = Table("name", "quantization", "architecture", "context", "size", "sha256")
    for model in _store().list():
        size = f"{model.size_bytes / 1e6:.1f} MB"
        digest = model.sha256.removeprefix("sha256:")
        table.add_row(model.name, model.quantization, model.architecture, str(model.context_length), size, digest)
    Console().print(table)


def _chosen(name: str, quantization: str | None) -> list[str]:
    if quantization is not None:
        return [quantization]
    found = [model.quantization for model in _store().list() if model.name == name]
    if not found:
        message = f"no model is installed as {name}; see: weos-engine models list"
        raise click.ClickException(message)
    return found


@command.command(name="verify")
@click.argument("name")
@click.option("--quantization", help="Only this quantization; default: all of NAME.")
def verify(name: str, quantization: str | None) -> None:
    """Hash the file of NAME and compare it with the installed digest."""
    sizes = {model.quantization: model.size_bytes for model in _store().list() if model.name == name}
    for each in _chosen(name, quantization):
        with show_progress(f"hashing bytes of {name} {each}", sizes.get(each, 0)) as bar:
            _store().verify(name, each, bar.step)
        click.echo(f"{name} {each} is unchanged")


@command.command(name="remove")
@click.argument("name")
@click.option("--quantization", help="Only this quantization; required where NAME has several.")
def remove(name: str, quantization: str | None) -> None:
    """Remove NAME, and delete its file unless another name uses it."""
    found = _chosen(name, quantization)
    if len(found) > 1:
        message = f"{name} has several quantizations ({', '.join(found)}); name one with --quantization"
        raise click.ClickException(message)
    _store().remove(name, found[0])
    click.echo(f"{name} {found[0]} is removed")
