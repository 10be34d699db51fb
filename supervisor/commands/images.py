"""`weos-engine images`: the runtime images, one per backend."""

import click
from rich.console import Console
from rich.table import Table

from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.backends import default_source_root, load_backends
from supervisor.adapters.installation.image_record import stored_image
from supervisor.console.steps import ConsoleProgress
from supervisor.setup.host.container_engine import ensure_container_engine
from supervisor.setup.images.runtime_image import build_runtime_image
from supervisor.setup.images.supervisor_image import TAG, build_supervisor_image

__all__ = ["command"]


@click.group(name="images")
def command() -> None:
    """Build and list runtime images."""


@command.command(name="build")
@click.argument("backend")
def build(backend: str) -> None:
    """Build the runtime image of BACKEND if its inputs have changed."""
    home, progress = Home(default_home()), ConsoleProgress()
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    image = build_runtime_image(home.root, backend, progress, ensure_container_engine(home.root, progress))
    click.echo(f"{image.backend} is {image.image_id} ({image.size_bytes / 1e6:.1f} MB)")


@command.command(name="supervisor")
def build_supervisor() -> None:
    """Build the image of the supervisor itself; docs/deploying.md says how to start it."""
    home, progress = Home(default_home()), ConsoleProgress()
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    image_id = build_supervisor_image(home.root, progress, ensure_container_engine(home.root, progress))
    click.echo(f"{TAG} is {image_id}")


@command.command(name="list")
def list_images() -> None:
    """List every backend and its image."""
    table = Table("backend", "image", "size", "llama-cpp-python", "base")
    home = Home(default_home())
    for name in sorted(load_backends(default_source_root())):
        image = stored_image(home.root, name)
        if image is None:
            table.add_row(name, f"not built; run: weos-engine images build {name}", "", "", "")
        else:
            base = f"Debian {image.base_release} ({image.base_origin})"
            size = f"{image.size_bytes / 1e6:.1f} MB"
            table.add_row(name, image.image_id, size, image.source_version, base)
    Console().print(table)
