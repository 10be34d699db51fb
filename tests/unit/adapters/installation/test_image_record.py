import json
from pathlib import Path
from typing import Any

import pytest

from supervisor.adapters.installation.image_record import BuiltImage, record_path, store_image, stored_image
from supervisor.domain.errors import SetupError

IMAGE = BuiltImage(
    backend="cpu_avx2",
    image_id="sha256:" + "1" * 64,
    size_bytes=20_000_000,
    manifest_sha256="sha256:" + "2" * 64,
    manifest_path="/somewhere/manifest.json",
    inputs_key="sha256:" + "3" * 64,
    cmake_flags=("-DA=ON",),
    required_cpu_flags=("avx2",),
    base_origin="debootstrap",
    base_reference="debootstrap:bookworm:minbase",
    base_release="12.15",
    base_image_id="sha256:" + "4" * 64,
    toolchain_image_id="sha256:" + "5" * 64,
    source_name="llama-cpp-python",
    source_version="0.3.36",
    source_sha256="sha256:" + "6" * 64,
    llama_cpp_commit=None,
    llama_cpp_commit_reason="not named",
)


@pytest.mark.parametrize("commit", [None, "0c1e57098"])
def test_an_image_is_read_as_it_was_recorded(tmp_path: Path, commit: str | None) -> None:
    image = IMAGE.model_copy(update={"llama_cpp_commit": commit})
    store_image(tmp_path, image)
    assert stored_image(tmp_path, "cpu_avx2") == image


def test_a_backend_never_built_has_no_image(tmp_path: Path) -> None:
    assert stored_image(tmp_path, "cpu_avx2") is None


@pytest.mark.parametrize(
    "change",
    [
        {"size_bytes": "1"},
        {"size_bytes": True},
        {"image_id": None},
        {"cmake_flags": "x"},
        {"cmake_flags": [1]},
        {"llama_cpp_commit": 1},
        {"backend": "cpu_avx512"},
        {"surplus": 1},
        {"inputs_key": "3" * 64},
    ],
)
def test_a_record_that_is_not_exact_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = record_path(tmp_path, "cpu_avx2")
    path.parent.mkdir()
    path.write_text(json.dumps(IMAGE.model_dump(mode="json") | change))
    with pytest.raises(SetupError, match=f"rm {path}") as caught:
        stored_image(tmp_path, "cpu_avx2")
    assert caught.value.code == "record_invalid"


def test_a_record_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    path = record_path(tmp_path, "cpu_avx2")
    path.parent.mkdir()
    path.write_text("{}")
    with pytest.raises(SetupError, match="image_id"):
        stored_image(tmp_path, "cpu_avx2")
