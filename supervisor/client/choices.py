"""What the command line fills in where a person has named no model, quantization or backend."""

from dataclasses import dataclass

from contracts.api.responses import BackendList, ModelList, ModelView
from supervisor.client.engine_client import EngineClient
from supervisor.domain.errors import EngineError
from supervisor.domain.planning.backends import best_backend

__all__ = ["Target", "choose_backend", "choose_model", "choose_target"]

LISTED = 20


@dataclass(frozen=True, slots=True)
class Target:
    """What executes a request."""

    model: str
    quantization: str
    backend: str
    has_chat_template: bool
    """Whether the model takes messages."""


def choose_target(client: EngineClient, model: str | None, quantization: str | None, backend: str | None) -> Target:
    """Return what executes a request; a name that was given is passed on as it is, and the engine judges it.

    Raises:
        EngineError: ``choice_needed``, ``model_missing``, ``unknown_model``, ``unknown_quantization`` or
            ``image_missing``; or like `EngineClient.get`.
    """
    if model is None or quantization is None:
        chosen = choose_model(client, model, quantization)
        return Target(
            chosen.name, chosen.quantization, backend or choose_backend(client), chosen.chat_template is not None
        )
    quantization = quantization.lower()
    installed = ModelList.parse(client.get_bytes("/v1/models")).models
    named = [each for each in installed if (each.name, each.quantization) == (model, quantization)]
    has_chat_template = any(each.chat_template for each in named)
    return Target(model, quantization, backend or choose_backend(client), has_chat_template)


def choose_model(client: EngineClient, model: str | None, quantization: str | None) -> ModelView:
    """Return the only installed model that fits what was named.

    Raises:
        EngineError: ``model_missing``, ``unknown_model``, ``unknown_quantization`` or ``choice_needed``.
    """
    # Files are usually named with capitals.
    quantization = quantization and quantization.lower()
    installed = ModelList.parse(client.get_bytes("/v1/models")).models
    if not installed:
        detail = "no model is installed; get the demonstration model with: weos-engine setup, or add a file of your "
        raise EngineError("model_missing", f"{detail}own with: weos-engine models add NAME FILE")
    named = tuple(each for each in installed if model in {None, each.name})
    if not named:
        raise EngineError("unknown_model", f"no model is installed as {model}; there is:\n{_table(installed)}")
    found = tuple(each for each in named if quantization in {None, each.quantization})
    if not found:
        what = "no model is installed" if model is None else f"{model} is not installed"
        detail = f"{what} in the quantization {quantization}; there is:\n{_table(named)}"
        raise EngineError("unknown_quantization", detail)
    if len(found) > 1:
        option = "--model" if len({each.name for each in found}) > 1 else "--quantization"
        raise EngineError("choice_needed", f"several models fit; choose with {option}:\n{_table(found)}")
    return found[0]


def choose_backend(client: EngineClient) -> str:
    """Return the best backend that is installed and runs on this processor.

    Raises:
        EngineError: ``image_missing``, there is none.
    """
    backends = BackendList.parse(client.get_bytes("/v1/backends")).backends
    best = best_backend(each.name for each in backends if each.installed and each.runnable)
    if best is None:
        possible = best_backend(each.name for each in backends if each.runnable)
        how = f"; build one with: weos-engine images build {possible}" if possible else ""
        raise EngineError("image_missing", f"no installed backend runs on this processor{how}")
    return best


def _table(models: tuple[ModelView, ...]) -> str:
    """Return models as a short table; a long list is cut off."""
    wide = max(len(each.name) for each in models)
    high = max(len(each.quantization) for each in models)
    rows = [
        f"  {each.name:<{wide}}  {each.quantization:<{high}}  {each.size_bytes / 1e6:8.1f} MB"
        f"{'' if each.chat_template else '  without a chat template'}"
        for each in models[:LISTED]
    ]
    if len(models) > LISTED:
        rows.append(f"  and {len(models) - LISTED} more; see: weos-engine models list")
    return "\n".join(rows)
