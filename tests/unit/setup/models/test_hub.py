"""The hub's own library against a stand-in of the hub."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_claim import Claim
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.errors import EngineError, SetupError
from supervisor.domain.models.pull_source import HubSource, UrlSource
from supervisor.domain.planning.installation import InstalledModel
from supervisor.setup.models.download import Patience
from supervisor.setup.models.hub import HubFile, download_hub_file, look_up
from supervisor.setup.models.pulling import Puller
from tests.hub_stand_in import COMMIT, REPOSITORY, HubStandIn, serving_hub
from tests.places import REPOSITORY as REPOSITORY_ROOT
from tests.silent_progress import SilentProgress
from tests.whole_models import write_gguf

FILE = "sub/Tiny-F32.gguf"
SOURCE = HubSource(REPOSITORY, None, FILE)
QUICK = Patience(silence_s=60.0, attempts=2, pause_s=0.0)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write_gguf(tmp_path / "m.gguf").read_bytes()


@pytest.fixture
def hub(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    with serving_hub(files={FILE: content, "README.md": b"# Tiny"}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield hub


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage in other processes: one that is killed would leave half a file of it."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)


def pull(
    tmp_path: Path, source: HubSource = SOURCE, claim: Claim | None = None, *, accept: bool = True
) -> InstalledModel:
    puller = Puller(Home(tmp_path / "home"), SilentProgress(), accept=lambda _file: accept)
    return puller.pull_hub(source, None, claim or Claim())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def downloads(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "home" / "cache" / "downloads").glob("*/**/*") if path.is_file()]


def test_a_file_is_found_with_its_digest_and_licence(hub: HubStandIn, content: bytes) -> None:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    expected = HubFile(REPOSITORY, COMMIT, FILE, len(content), digest, "apache-2.0", is_gated=False)
    assert look_up(SOURCE, None) == expected
    assert look_up(replace(SOURCE, file=None), "F32") == expected
    assert expected.page == f"{hub.address}/{REPOSITORY}"
    hub.card = {"license": "other", "license_name": "llama3.2", "license_link": "https://example.org/l"}
    assert look_up(SOURCE, None).license == "llama3.2 https://example.org/l"
    hub.card = {}
    assert look_up(SOURCE, None).license == "other"


def test_a_file_is_installed_and_nothing_else_is_left(hub: HubStandIn, content: bytes, tmp_path: Path) -> None:
    installed = pull(tmp_path)
    assert (installed.name, installed.quantization) == ("tiny", "f32")
    assert installed.sha256 == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert downloads(tmp_path) == []
    fetched = len(hub.transfers())
    assert pull(tmp_path) == installed
    assert len(hub.transfers()) == fetched
    # Nothing is sent but what the fetch needs.
    assert {path for _, path, _ in hub.requests} <= {
        f"/api/models/{REPOSITORY}",
        f"/{REPOSITORY}/resolve/{COMMIT}/{FILE}",
    }


def test_a_transfer_that_breaks_off_goes_on_where_it_was(hub: HubStandIn, tmp_path: Path) -> None:
    hub.breaks_after = [5000]
    pull(tmp_path)
    assert len(hub.transfers()) == 2


def test_a_file_that_is_damaged_on_its_way_is_not_installed(hub: HubStandIn, content: bytes, tmp_path: Path) -> None:
    hub.sha256_of[FILE] = "0" * 64
    with pytest.raises(EngineError, match="is not installed: its SHA-256 is") as caught:
        pull(tmp_path)
    assert caught.value.code == "digest_mismatch"
    assert downloads(tmp_path) == []
    del hub.sha256_of[FILE]
    assert pull(tmp_path).size_bytes == len(content)


def test_a_file_that_is_no_model_is_refused_and_kept_for_its_user(hub: HubStandIn, tmp_path: Path) -> None:
    hub.files[FILE] = b"<html>"
    with pytest.raises(EngineError) as caught:
        pull(tmp_path)
    assert caught.value.code == "model_refused"
    assert ModelStore(tmp_path / "home" / "models").list() == ()


def test_a_digest_that_the_user_names_is_compared_before_anything_is_fetched(hub: HubStandIn, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="the hub says that") as caught:
        pull(tmp_path, claim=Claim(sha256="sha256:" + "0" * 64))
    assert caught.value.code == "digest_mismatch"
    assert hub.transfers() == []


def test_a_licence_that_is_not_accepted_ends_before_anything_is_fetched(hub: HubStandIn, tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        pull(tmp_path, accept=False)
    assert caught.value.code == "licence_not_accepted"
    assert hub.transfers() == []


def test_a_gated_repository_needs_the_token_of_its_user(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token, hub.gated = "hf_secret", "auto"
    with pytest.raises(SetupError, match=f"accept it at {hub.address}/{REPOSITORY}.*export HF_TOKEN") as caught:
        pull(tmp_path)
    assert caught.value.code == "licence_not_accepted"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert look_up(SOURCE, None).is_gated
    assert pull(tmp_path).name == "tiny"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (HubSource("tiny/none", None, FILE), "is not there, or is not for everybody"),
        (replace(SOURCE, file="none.gguf"), "no file none.gguf there; name one of its GGUF files: sub/Tiny-F32.gguf"),
        (replace(SOURCE, file="README.md"), "README.md is no GGUF file"),
    ],
)
def test_what_is_not_there_is_told(hub: HubStandIn, tmp_path: Path, source: HubSource, why: str) -> None:
    with pytest.raises(EngineError, match=why):
        pull(tmp_path, source)


def test_a_file_without_a_digest_is_not_fetched(hub: HubStandIn, tmp_path: Path) -> None:
    hub.tells_digests = False
    with pytest.raises(SetupError, match="tells no SHA-256") as caught:
        pull(tmp_path)
    assert caught.value.code == "source_invalid"
    assert hub.transfers() == []


@pytest.mark.usefixtures("unmeasured")
def test_a_hub_that_is_silent_is_given_up(hub: HubStandIn, tmp_path: Path) -> None:
    wanted = look_up(SOURCE, None)
    hub.stalls = True
    with pytest.raises(SetupError, match="nothing came for 3 s") as caught:
        download_hub_file(wanted, tmp_path, SilentProgress(), replace(QUICK, silence_s=3.0))
    assert caught.value.code == "source_fetch_failed"


@pytest.mark.usefixtures("unmeasured")
def test_a_fetch_does_not_outlive_its_command(hub: HubStandIn, tmp_path: Path) -> None:
    hub.stalls = True
    command = [sys.executable, "-m", "supervisor", "models", "pull", f"hf:{REPOSITORY}/{FILE}"]
    environment = {**os.environ, "WEOS_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: bool(hub.transfers()))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        (child,) = children.read_text().split()
        process.kill()
    wait_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])


def test_a_hub_that_cannot_be_reached_or_must_not_be_is_told(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SetupError, match="while HF_HUB_OFFLINE is set"):
        pull(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SetupError, match=r"check that http://127\.0\.0\.1:1 can be reached") as caught:
        pull(tmp_path)
    assert caught.value.code == "source_fetch_failed"


def test_a_package_that_is_missing_is_told_with_how_to_install_it(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Found first, and not there: as where the package is not installed.
    (tmp_path / "huggingface_hub.py").write_text("raise ModuleNotFoundError('huggingface_hub')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY_ROOT}")
    with pytest.raises(SetupError, match=f"{sys.executable} -m pip install 'huggingface_hub>=2,<3'") as caught:
        pull(tmp_path)
    assert caught.value.code == "not_installed"


def test_a_file_of_a_web_server_is_installed_with_its_digest_only(
    hub: HubStandIn, content: bytes, tmp_path: Path
) -> None:
    puller = Puller(Home(tmp_path / "home"), SilentProgress(), accept=lambda _file: True)
    source = UrlSource(f"{hub.address}/{FILE}")
    with pytest.raises(EngineError, match="--sha256") as caught:
        puller.pull_url(source, None, Claim())
    assert caught.value.code == "source_unknown"
    claim = Claim(sha256=f"sha256:{hashlib.sha256(content).hexdigest()}")
    installed = puller.pull_url(source, "mine", claim)
    assert installed.name == "mine"
    assert downloads(tmp_path) == []
    assert puller.pull_url(source, "mine", claim) == installed
    assert len(hub.transfers()) == 1
