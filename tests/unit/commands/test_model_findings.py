"""What `doctor` says of the model store."""

from pathlib import Path

from supervisor.adapters.installation.model_store import ModelStore
from supervisor.commands.models.findings import find_models
from tests.whole_models import write_gguf


def test_a_store_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    (found,) = find_models(ModelStore(tmp_path / "models"))
    assert (found.found, found.good) == ("none", False)
    assert "models pull" in found.follows


def test_installed_models_and_what_a_killed_import_left_are_named(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    store.add("tiny", write_gguf(tmp_path / "m.gguf"), progress=lambda _: None)
    left = tmp_path / "models" / "incoming-left"
    left.mkdir()
    (left / "model.gguf").write_bytes(bytes(1_000_000))
    lost = tmp_path / "models" / ("0" * 64)
    lost.mkdir()
    found = find_models(store)
    assert [each.found.split()[0] for each in found] == ["tiny", "1.0", "0.0"]
    assert [each.good for each in found] == [True, None, None]
    assert str(left) in found[1].found
    assert "removes it" in found[1].follows
    assert f"rm -r {lost}" in found[2].follows


def test_a_damaged_index_is_a_finding_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "models.json").write_text("{}")
    (found,) = find_models(ModelStore(tmp_path / "models"))
    assert found.good is False
    assert "mv " in found.follows
