import json
from pathlib import Path

import pytest

from supervisor.adapters.installation import InstallationReader
from supervisor.adapters.model_store import ModelStore
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.errors import Refusal
from supervisor.setup.backends import require_backend
from supervisor.setup.image_record import BuiltImage, record_path, store_image
from supervisor.setup.runtime_image import inputs_key
from tests.fakes import IMAGE, VERSION, fixed_installation


def record(home: Path, key: str) -> None:
    image = BuiltImage(
        backend="cpu_avx2",
        image_id=IMAGE,
        size_bytes=1,
        manifest_sha256="0" * 64,
        manifest_path=str(home / "manifest.json"),
        inputs_key=key,
        cmake_flags=(),
        required_cpu_flags=("avx2",),
        base_origin="debootstrap",
        base_reference="bookworm",
        base_release="12",
        base_image_id=IMAGE,
        toolchain_image_id=IMAGE,
        source_name="llama-cpp-python",
        source_version="0.3.36",
        source_sha256="0" * 64,
        llama_cpp_commit=None,
        llama_cpp_commit_reason="a test",
    )
    store_image(home, image)


def image_of(home: Path) -> str | None:
    fixed = fixed_installation()
    reader = InstallationReader(
        home,
        SOURCE_ROOT,
        engine_version=VERSION,
        models=ModelStore(home / "models"),
        policies=fixed.policies,
        host=fixed.host,
    )
    return next(backend.image_id for backend in reader.read().backends if backend.name == "cpu_avx2")


def test_an_image_made_from_these_sources_is_installed(tmp_path: Path) -> None:
    assert image_of(tmp_path) is None
    record(tmp_path, inputs_key(SOURCE_ROOT, require_backend(SOURCE_ROOT, "cpu_avx2")))
    assert image_of(tmp_path) == IMAGE


def test_an_image_made_from_other_sources_does_not_run_under_this_version(tmp_path: Path) -> None:
    record(tmp_path, "0" * 64)
    assert image_of(tmp_path) is None


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    path = record_path(tmp_path, "cpu_avx2")
    path.parent.mkdir()
    path.write_text(json.dumps({"backend": 1}))
    with pytest.raises(Refusal) as caught:
        image_of(tmp_path)
    assert caught.value.code == "image_missing"
