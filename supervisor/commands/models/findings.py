"""What `doctor` says of the model store."""

from pathlib import Path

from supervisor.adapters.installation.model_directories import LeftDirectory
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.commands.finding import Finding
from supervisor.domain.errors import Refusal

__all__ = ["find_left_downloads", "find_models"]


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


def find_left_downloads(home: Path) -> list[Finding]:
    """Return the fetches of models that ended early, or that still run."""
    findings = []
    for directory in sorted((home / "cache" / "downloads").glob("*")):
        size_bytes = sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
        what = f"{size_bytes / 1e6:.1f} MB in {directory}"
        follows = f"the same models pull goes on there; to give it up: rm -r {directory}"
        findings.append(Finding("begun download", what, follows, good=None))
    return findings
