"""What `doctor` says of the model store."""

from supervisor.adapters.installation.model_directories import LeftDirectory
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.commands.finding import Finding
from supervisor.domain.errors import Refusal

__all__ = ["find_models"]


def find_models(store: ModelStore) -> list[Finding]:
    """Return the installed models, and what killed imports left among them."""
    try:
        models, left = store.list(), store.leftovers()
    except Refusal as refusal:
        return [Finding("models", "the index is damaged", refusal.detail, good=False)]
    found = Finding("models", ", ".join(f"{model.name} {model.quantization}" for model in models), "can be executed")
    if not models:
        follows = "nothing can be executed; run make setup, or weos-engine models pull"
        found = Finding("models", "none", follows, good=False)
    return [found, *(_show_left_model(each) for each in left)]


def _show_left_model(left: LeftDirectory) -> Finding:
    what = f"{left.size_bytes / 1e6:.1f} MB in {left.path}"
    if left.is_removed_later:
        return Finding("left import", what, "the next models add, or start of the supervisor, removes it", good=None)
    follows = f"no model uses it; add it again with: weos-engine models add NAME FILE, or: rm -r {left.path}"
    return Finding("left model file", what, follows, good=None)
