"""`weos-engine models quantize`: make a smaller variant of an installed model."""

import click

from supervisor.adapters.home import Home, default_home
from supervisor.commands.escape import read_installation
from supervisor.commands.supervising import run_contained
from supervisor.console.steps import ConsoleProgress
from supervisor.domain.errors import EngineError
from supervisor.domain.models.quantization import normal_quantization
from supervisor.domain.models.quantizing import TARGETS, UNQUANTIZED
from supervisor.domain.planning.installation import Installation, InstalledModel
from supervisor.escape.target import runnable_backends
from supervisor.setup.host.container_engine import find_container_engine
from supervisor.setup.models.quantizing import Order, quantize_model

__all__ = ["command"]


def choose_source(installation: Installation, name: str, quantization: str | None) -> InstalledModel:
    """Return the model to quantize.

    Raises:
        click.UsageError: nothing fits, or several do.
    """
    found = [each for each in installation.models if each.name == name]
    if quantization is not None:
        found = [each for each in found if each.quantization == normal_quantization(quantization)]
    if not found:
        what = name if quantization is None else f"{name} {quantization}"
        message = f"{what} is not installed; see: weos-engine models list"
        raise click.UsageError(message)
    if len(found) > 1:
        names = ", ".join(each.quantization for each in found)
        message = f"{name} is installed as {names}; say from which with --from"
        raise click.UsageError(message)
    return found[0]


@click.command(name="quantize")
@click.argument("name")
@click.option("--from", "source", help="Quantization to start from; needed where NAME has several.")
@click.option("--to", "target", required=True, help=f"Quantization to make: {', '.join(sorted(TARGETS))}.")
@click.option("--as", "new_name", help="Name of the result; default: NAME.")
def command(name: str, source: str | None, target: str, new_name: str | None) -> None:
    """Quantize NAME with llama.cpp, in a container of its own, and install the result."""
    home = Home(default_home())
    options = {"--from": source, "--to": target, "--as": new_name}
    run_contained(home, ["models", "quantize", name, *(f"{key}={text}" for key, text in options.items() if text)])
    docker_host = find_container_engine()
    if docker_host is None:
        raise EngineError("engine_unavailable", "no container engine answers; run: make setup")
    installation = read_installation(home)
    model = choose_source(installation, name, source)
    if model.quantization not in UNQUANTIZED:
        click.echo(
            f"{name} {model.quantization} is quantized already: what it lost does not come back. Start from f16 where "
            "there is one.",
            err=True,
        )
    order = Order(model, normal_quantization(target), new_name or name, runnable_backends(installation)[0].name)
    title = f"Quantizing {name} from {model.quantization} to {order.target}"
    with ConsoleProgress().step(title, "llama.cpp's quantizer in a container without network") as step:
        made = quantize_model(home, docker_host, installation, order, step.update)
    click.echo(f"{made.name} {made.quantization} ({made.size_bytes / 1e6:.1f} MB) is installed as {made.sha256}")
    click.echo(f"made from {made.parent}")
