import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.errors import EngineError, SetupError
from supervisor.setup.images.sources import Archive
from supervisor.setup.models.catalogue import GEMMA_3_270M, CarriedModel, Part, Terms, find_carried, terms_of
from supervisor.setup.models.installing import ensure_carried, ensure_model
from tests.silent_progress import SilentProgress
from tests.whole_models import write_gguf

TERMS = Terms("tiny", "Tiny Terms", ("https://example.org/terms",))


def put_wheel(home: Home, name: str, member: str, content: bytes) -> Archive:
    """Leave a wheel where a fetched one lies, so that nothing is fetched."""
    made = home.root / f"{name}.whl"
    made.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(made, "w") as file:
        file.writestr(member, content)
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    kept = home.root / "cache" / "archives" / sha256
    kept.parent.mkdir(parents=True, exist_ok=True)
    made.rename(kept)
    return Archive(name, "1.0", sha256, kept.stat().st_size, is_source=False)


def carried(home: Home, tmp_path: Path, terms: Terms | None = None) -> CarriedModel:
    """A tiny model in two wheels that are there already."""
    content = write_gguf(tmp_path / "whole.gguf").read_bytes()
    half = len(content) // 2
    pieces = (content[:half], content[half:])
    parts = tuple(
        Part(put_wheel(home, f"tiny-part{number}", f"tiny/part{number}", piece), f"tiny/part{number}")
        for number, piece in enumerate(pieces)
    )
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return CarriedModel("tiny", "f32", "llama", "MIT", digest, len(content), parts, terms)


def ensure(home: Home, model: CarriedModel, *accepted: str) -> str:
    return ensure_carried(home, model, model.name, SilentProgress(), accepted_terms=frozenset(accepted)).sha256


def files_in(home: Home, folder: str) -> list[str]:
    return sorted(path.name for path in (home.root / "cache" / folder).iterdir())


def test_a_model_is_put_together_from_its_wheels_and_installed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    model = carried(home, tmp_path)
    assert ensure(home, model) == model.sha256
    assert [each.name for each in ModelStore(home.models).list()] == ["tiny"]


def test_an_installed_model_leaves_no_second_copy_and_is_not_fetched_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    model = carried(home, tmp_path)
    ensure(home, model)
    assert (files_in(home, "archives"), files_in(home, "models")) == ([], [])
    # Nothing could be fetched: there is no such package.
    assert ensure(home, model) == model.sha256


def test_terms_are_accepted_before_anything_is_fetched(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    model = carried(home, tmp_path, TERMS)
    with pytest.raises(SetupError, match=r"--accept-terms tiny.*https://example\.org/terms") as caught:
        ensure(home, model, "gemma")
    assert caught.value.code == "terms_not_accepted"
    assert not (home.root / "cache" / "models").exists()
    assert ensure(home, model, "tiny") == model.sha256


def test_gemma_is_not_fetched_without_its_terms(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"ai\.google\.dev/gemma/terms"):
        ensure_model(Home(tmp_path), "gemma3-270m", SilentProgress())
    terms = terms_of("gemma3-270m")
    assert (terms and terms.key, terms_of("smollm2-135m-instruct")) == ("gemma", None)
    assert not (tmp_path / "cache").exists()


def test_a_name_that_no_package_carries_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="gemma3-270m, smollm2-135m-instruct") as caught:
        ensure_model(Home(tmp_path), "gemma4", SilentProgress())
    assert caught.value.code == "unknown_model"


def test_the_pieces_of_gemma_are_in_order() -> None:
    assert [part.member[-2:] for part in GEMMA_3_270M.parts] == ["00", "01", "02", "03"]
    assert [part.wheel.name[-1:] for part in GEMMA_3_270M.parts] == ["1", "2", "3", "4"]
    assert find_carried("gemma3-270m") is GEMMA_3_270M


@pytest.mark.parametrize("damage", ["no wheel", "another model", "no member"])
def test_a_wheel_without_the_pinned_model_is_refused_and_nothing_is_kept(tmp_path: Path, damage: str) -> None:
    home = Home(tmp_path / "home")
    model = carried(home, tmp_path)
    first, second = model.parts
    if damage == "no wheel":
        (home.root / "cache" / "archives" / first.wheel.sha256).write_bytes(b"no wheel")
    elif damage == "another model":
        model = replace(model, parts=(second, first))
    else:
        model = replace(model, parts=(first, replace(second, member="tiny/none")))
    with pytest.raises(SetupError, match=f"rm {home.root}") as caught:
        ensure(home, model)
    assert caught.value.code == "source_invalid"
    assert files_in(home, "models") == []
    assert ModelStore(home.models).list() == ()


def test_a_model_that_the_disk_has_no_room_for_is_not_fetched(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    model = replace(carried(home, tmp_path), size_bytes=10**18)
    with pytest.raises(EngineError, match=r"needs 1000000000\.00 GB.*mounted at /") as caught:
        ensure(home, model)
    assert caught.value.code == "disk_full"
