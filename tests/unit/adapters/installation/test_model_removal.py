from pathlib import Path

import pytest

from contracts.execution.execution_plan import PlannedModel
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.errors import EngineError
from supervisor.domain.planning.installation import InstalledModel
from tests.whole_models import write_gguf


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def model(store: ModelStore, tmp_path: Path) -> InstalledModel:
    return store.add("tiny", write_gguf(tmp_path / "m.gguf"), progress=lambda _: None)


def planned(model: InstalledModel) -> PlannedModel:
    return PlannedModel(
        name=model.name,
        quantization=model.quantization,
        architecture=model.architecture,
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        mixture=model.mixture,
        chat_template=model.chat_template,
        signature=model.signature,
    )


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "models").glob("*/model.gguf"))


def test_a_model_that_nobody_uses_is_deleted(store: ModelStore, model: InstalledModel, tmp_path: Path) -> None:
    with store.hold(planned(model)):
        pass
    assert store.remove("tiny", "f32") == "deleted"
    assert files(tmp_path) == []


def test_the_file_of_another_name_is_kept(store: ModelStore, model: InstalledModel, tmp_path: Path) -> None:
    store.add("second", files(tmp_path)[0], progress=lambda _: None)
    assert store.remove("tiny", "f32") == "shared"
    assert store.remove("second", "f32") == "deleted"
    assert model.sha256 not in {each.sha256 for each in store.list()}


def test_a_removed_model_stays_until_its_last_user_ends(
    store: ModelStore, model: InstalledModel, tmp_path: Path
) -> None:
    with store.hold(planned(model)) as located:
        opened = files(tmp_path)[0].open("rb")
        with store.hold(planned(model)):
            assert store.remove("tiny", "f32") == "in_use"
            assert store.list() == ()
            with pytest.raises(EngineError) as caught:
                store.locate(planned(model))
            assert caught.value.code == "model_missing"
            # As a mount of the directory shows it.
            assert store.is_unchanged(located)
        assert len(files(tmp_path)) == 1
        assert store.leftovers() == ()
        assert store.remove_leftovers() == 0
        with opened:
            assert opened.read(4) == b"GGUF"
    assert files(tmp_path) == []


def test_a_removed_model_can_be_added_again_while_it_is_used(
    store: ModelStore, model: InstalledModel, tmp_path: Path
) -> None:
    with store.hold(planned(model)) as located:
        store.remove("tiny", "f32")
        store.add("tiny", tmp_path / "m.gguf", progress=lambda _: None)
        assert store.is_unchanged(located)
        assert len(files(tmp_path)) == 2
    assert len(files(tmp_path)) == 1
    assert store.locate(planned(model))


def test_a_removed_file_that_is_written_to_while_it_is_used_is_noticed(
    store: ModelStore, model: InstalledModel, tmp_path: Path
) -> None:
    with store.hold(planned(model)) as located:
        store.remove("tiny", "f32")
        (file,) = files(tmp_path)
        file.chmod(0o644)
        assert not store.is_unchanged(located)


def test_what_is_not_there_cannot_be_held(store: ModelStore, model: InstalledModel) -> None:
    store.remove("tiny", "f32")
    with pytest.raises(EngineError) as caught, store.hold(planned(model)):
        pass
    assert caught.value.code == "model_missing"


def test_an_altered_file_that_is_used_is_put_aside_by_the_same_file_added_again(
    store: ModelStore, model: InstalledModel, tmp_path: Path
) -> None:
    (file,) = files(tmp_path)
    with store.hold(planned(model)):
        file.chmod(0o644)
        file.write_bytes(b"altered")
        store.add("tiny", tmp_path / "m.gguf", progress=lambda _: None)
        store.verify("tiny", "f32", lambda _: None)
        assert sorted(path.read_bytes()[:4] for path in files(tmp_path)) == [b"GGUF", b"alte"]
    assert [path.read_bytes()[:4] for path in files(tmp_path)] == [b"GGUF"]
