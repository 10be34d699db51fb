"""`weos-engine models show`: what a model says of itself, installed or not."""

import json
import os
from pathlib import Path

import click
from rich.console import Console

from supervisor.adapters.files import digest_of_file
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.backends import default_source_root
from supervisor.adapters.installation.gguf_header import read_gguf_header
from supervisor.adapters.installation.model_source import open_model_file
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.adapters.kernel.host import read_host_facts
from supervisor.adapters.policies import load_policies
from supervisor.commands.models.installed import choose_quantizations, open_store
from supervisor.commands.models.model_view import ModelView, memory_needs, show_model
from supervisor.domain.planning.installation import InstalledModel

__all__ = ["command"]

SCHEDULER_POLICY = "default"


@click.command(name="show")
@click.argument("model")
@click.option("--quantization", help="Only this quantization; required where a name has several.")
@click.option("--digest", is_flag=True, help="Compute the SHA-256 of a file that is not installed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(model: str, quantization: str | None, digest: bool, as_json: bool) -> None:
    """Show what MODEL says of itself and what running it takes.

    MODEL is the name of an installed model, or a GGUF file that is judged as at its installation.
    """
    store = open_store()
    names = {each.name for each in store.list()}
    if model in names or not _is_a_path(model):
        view = _view_installed(store, _choose(store, model, quantization))
    elif quantization is not None:
        message = "--quantization chooses among installed models; MODEL is a file"
        raise click.UsageError(message)
    else:
        view = _view_file(Path(model), digest=digest)
    if as_json:
        click.echo(json.dumps(view.as_json(), indent=1))
    else:
        show_model(view, Console())


def _is_a_path(model: str) -> bool:
    return os.sep in model or model.lower().endswith(".gguf") or Path(model).exists()


def _choose(store: ModelStore, name: str, quantization: str | None) -> InstalledModel:
    found = choose_quantizations(store, name, quantization)
    if len(found) > 1:
        message = f"{name} has several quantizations ({', '.join(found)}); name one with --quantization"
        raise click.ClickException(message)
    for installed in store.list():
        if (installed.name, installed.quantization) == (name, found[0]):
            return installed
    message = f"{name} is not installed as {found[0]}; see: weos-engine models list"
    raise click.ClickException(message)


def _view_installed(store: ModelStore, model: InstalledModel) -> ModelView:
    return _view(store.path_of(model), f"{model.name} {model.quantization}", model)


def _view_file(path: Path, *, digest: bool) -> ModelView:
    open_model_file(path).close()
    return _view(path, str(path), None, sha256=digest_of_file(path) if digest else None)


def _view(path: Path, shown_as: str, model: InstalledModel | None, *, sha256: str | None = None) -> ModelView:
    header = read_gguf_header(path)
    policies = load_policies(default_source_root() / "policies")
    scheduler = policies.scheduling[SCHEDULER_POLICY]
    size_bytes = path.stat().st_size
    return ModelView(
        shown_as=shown_as,
        is_installed=model is not None,
        size_bytes=size_bytes,
        sha256=sha256 if model is None else model.sha256,
        signature=None if model is None else model.signature,
        parent=None if model is None else model.parent,
        header=header,
        memory=memory_needs(size_bytes, header, policies.admission, scheduler),
        leasable_bytes=max(0, read_host_facts().memory_bytes - policies.admission.memory.reserve_bytes),
        free_bytes=_free_bytes(Home(default_home()).models),
    )


def _free_bytes(directory: Path) -> int:
    # The store may not be there yet; its disk is that of the nearest directory above.
    while not directory.exists():
        directory = directory.parent
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
