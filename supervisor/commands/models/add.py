"""`weos-engine models add`: copy a GGUF file into the store."""

from pathlib import Path

import click

from contracts.model_signing.verification import SignedModel
from supervisor.adapters.installation.model_claim import Claim
from supervisor.commands.models.installed import open_store
from supervisor.commands.models.signature import signature_options
from supervisor.console.bar import show_progress

__all__ = ["command"]


@click.command(name="add")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--quantization", help="Refuse FILE unless this is its quantization, such as q4_k_m.")
@click.option("--architecture", help="Refuse FILE unless this is its architecture, such as llama.")
@signature_options
def command(
    name: str, file: Path, quantization: str | None, architecture: str | None, signed: SignedModel | None
) -> None:
    """Copy the GGUF FILE into the store as NAME, after checking its header.

    The store keeps a copy of its own, so FILE may be deleted afterwards.
    """
    claim = Claim(quantization, architecture, signed=signed)
    size_bytes = file.stat().st_size if file.is_file() else 0
    with show_progress("copying and hashing bytes", size_bytes) as bar:
        model = open_store().add(name, file, claim, progress=bar.step)
    click.echo(f"{model.name} {model.quantization} ({model.architecture}) is installed as {model.sha256}")
    if model.signature is not None:
        click.echo(f"signed by {model.signature.signer}")
