import hashlib
from pathlib import Path

import pytest

from supervisor.domain.errors import EngineError, SetupError
from supervisor.domain.models.pull_source import UrlSource
from supervisor.setup.models.download import Patience, download_url, fetching_into
from tests.hub_stand_in import HubStandIn, serving_hub
from tests.silent_progress import SilentProgress

CONTENT = b"GGUF" + bytes(range(256)) * 2000
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
QUICK = Patience(silence_s=1.0, attempts=3, pause_s=0.0)


def download(hub: HubStandIn, directory: Path, sha256: str = SHA256, path: str = "m.gguf") -> Path:
    directory.mkdir(exist_ok=True)
    return download_url(UrlSource(f"{hub.address}/{path}"), sha256, directory, SilentProgress(), QUICK)


def test_a_file_is_fetched_and_its_digest_checked(tmp_path: Path) -> None:
    with serving_hub(files={"m.gguf": CONTENT}) as hub:
        assert download(hub, tmp_path / "d").read_bytes() == CONTENT


def test_a_file_of_another_digest_is_not_kept(tmp_path: Path) -> None:
    with serving_hub(files={"m.gguf": CONTENT}) as hub, pytest.raises(SetupError, match="nothing was kept") as caught:
        download(hub, tmp_path / "d", sha256="sha256:" + "0" * 64)
    assert caught.value.code == "source_invalid"
    assert list((tmp_path / "d").iterdir()) == []


def test_a_connection_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    with serving_hub(files={"m.gguf": CONTENT}, breaks_after=[100_000, 200_000]) as hub:
        assert download(hub, tmp_path / "d").read_bytes() == CONTENT
        first, second, third = hub.transfers()
    assert (first, second is not None and second.startswith("bytes="), third != second) == (None, True, True)


def test_a_fetch_that_gave_up_goes_on_the_next_time(tmp_path: Path) -> None:
    with serving_hub(files={"m.gguf": CONTENT}, breaks_after=[100_000, 0, 0, 0]) as hub:
        with pytest.raises(SetupError, match="repeat to go on") as caught:
            download(hub, tmp_path / "d")
        assert caught.value.code == "source_fetch_failed"
        assert download(hub, tmp_path / "d").read_bytes() == CONTENT
        assert hub.transfers()[-1] not in {None, "bytes=0-"}


def test_a_server_that_cannot_go_on_sends_everything_again(tmp_path: Path) -> None:
    with serving_hub(files={"m.gguf": CONTENT}, breaks_after=[300_000], ranges=False) as hub:
        assert download(hub, tmp_path / "d").read_bytes() == CONTENT


def test_a_server_that_always_begins_again_and_breaks_off_is_given_up(tmp_path: Path) -> None:
    with (
        serving_hub(files={"m.gguf": CONTENT}, breaks_after=[300_000] * 100, ranges=False) as hub,
        pytest.raises(SetupError, match="could not be fetched"),
    ):
        download(hub, tmp_path / "d")
    assert len(hub.breaks_after) >= 90


def test_a_server_that_is_silent_is_given_up(tmp_path: Path) -> None:
    with (
        serving_hub(files={"m.gguf": CONTENT}, stalls=True) as hub,
        pytest.raises(SetupError, match=r"the connection failed \(ReadTimeout\)"),
    ):
        download(hub, tmp_path / "d")
    assert len(hub.transfers()) == QUICK.attempts


def test_a_server_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    with serving_hub(files={"m.gguf": CONTENT}, statuses=[503, 429]) as hub:
        assert download(hub, tmp_path / "d").read_bytes() == CONTENT


def test_a_file_that_was_whole_already_is_not_fetched_again(tmp_path: Path) -> None:
    with serving_hub(files={"m.gguf": CONTENT}) as hub:
        download(hub, tmp_path / "d")
        assert download(hub, tmp_path / "d").read_bytes() == CONTENT
        assert hub.transfers() == [None, f"bytes={len(CONTENT)}-"]


def test_a_length_that_is_not_told_is_no_obstacle(tmp_path: Path) -> None:
    with serving_hub(files={"m.gguf": CONTENT}, tells_length=False) as hub:
        assert download(hub, tmp_path / "d").read_bytes() == CONTENT


def test_what_is_not_there_is_asked_for_once(tmp_path: Path) -> None:
    with serving_hub() as hub, pytest.raises(SetupError, match="its server answered 404"):
        download(hub, tmp_path / "d")
    assert len(hub.transfers()) == 1


def test_a_web_page_is_refused_at_its_first_bytes(tmp_path: Path) -> None:
    page = b"<!doctype html>" + bytes(10**6)
    with serving_hub(files={"m.gguf": page}) as hub, pytest.raises(EngineError, match="web page") as caught:
        download(hub, tmp_path / "d")
    assert caught.value.code == "model_refused"
    assert sum(path.stat().st_size for path in (tmp_path / "d").iterdir()) == 0


def test_a_file_that_the_disk_has_no_room_for_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.adapters.installation.model_source.MARGIN_BYTES", 10**18)
    with serving_hub(files={"m.gguf": CONTENT}) as hub, pytest.raises(EngineError) as caught:
        download(hub, tmp_path / "d")
    assert caught.value.code == "disk_full"


def test_a_server_that_cannot_be_reached_is_told_without_the_secrets_of_the_address(tmp_path: Path) -> None:
    source = UrlSource("http://u:secret@127.0.0.1:1/m.gguf?token=secret")
    with pytest.raises(SetupError, match="ConnectionError") as caught:
        download_url(source, SHA256, tmp_path, SilentProgress(), QUICK)
    assert "secret" not in caught.value.detail


def test_an_address_that_no_server_can_have_is_tried_once(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="could not be fetched: the connection failed"):
        download_url(UrlSource("http://127.0.0.1:99999999/m.gguf"), SHA256, tmp_path, SilentProgress(), QUICK)


def test_two_do_not_fetch_the_same_at_once(tmp_path: Path) -> None:
    with fetching_into(tmp_path / "d"), pytest.raises(SetupError) as caught, fetching_into(tmp_path / "d"):
        pass
    assert caught.value.code == "source_busy"
    with fetching_into(tmp_path / "d"):
        pass
