"""The store that the commands work on, and the choice among the quantizations of a name."""

import click

from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.models.quantization import normal_quantization

__all__ = ["choose_quantizations", "open_store"]


def open_store() -> ModelStore:
    """Return the model store of this user's home."""
    return ModelStore(Home(default_home()).models)


def choose_quantizations(store: ModelStore, name: str, quantization: str | None) -> list[str]:
    """Return the quantization that is asked for, as the store spells it, or every installed quantization of a name.

    Raises:
        click.ClickException: nothing is installed under the name.
    """
    if quantization is not None:
        return [normal_quantization(quantization)]
    found = [model.quantization for model in store.list() if model.name == name]
    if not found:
        message = f"no model is installed as {name}; see: weos-engine models list"
        raise click.ClickException(message)
    return found
