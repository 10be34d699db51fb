import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.wire.document import sha256_digest
from supervisor.adapters.installation.backends import require_backend
from supervisor.adapters.installation.escape_reports import EscapeReports
from supervisor.adapters.installation.image_inputs import inputs_key
from supervisor.adapters.installation.image_record import BuiltImage, record_path, store_image
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.adapters.installation.reader import InstallationReader
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.errors import EngineError, Refusal
from tests.factories import make_escape_report, make_plan
from tests.fakes.installation import IMAGE, VERSION, fixed_installation

MANIFEST = b'{"files":[{"path":"/usr/bin/python3.11","sha256":"' + b"e" * 64 + b'"}],"links":[]}'


def record(home: Path, key: str) -> None:
    (home / "manifest.json").write_bytes(MANIFEST)
    image = BuiltImage(
        backend="cpu_avx2",
        image_id=IMAGE,
        size_bytes=1,
        manifest_sha256=sha256_digest(MANIFEST),
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
        source_sha256="sha256:" + "0" * 64,
        llama_cpp_commit=None,
        llama_cpp_commit_reason="a test",
    )
    store_image(home, image)


def reader_of(home: Path, images: dict[str, str] | None = None) -> InstallationReader:
    fixed = fixed_installation()
    return InstallationReader(
        home,
        SOURCE_ROOT,
        engine_version=VERSION,
        images=images,
        models=ModelStore(home / "models"),
        policies=fixed.policies,
        host=fixed.host,
        power=lambda: fixed.power,
    )


def test_a_tier_demanded_for_a_backend_that_is_none_stops_the_start(tmp_path: Path) -> None:
    fixed = fixed_installation()
    isolation = fixed.policies.sandbox.isolation.model_copy(update={"backends": {"cpu_avx3": "gvisor"}})
    sandbox = fixed.policies.sandbox.model_copy(update={"isolation": isolation})
    with pytest.raises(EngineError, match="'cpu_avx3'") as caught:
        InstallationReader(
            tmp_path,
            SOURCE_ROOT,
            engine_version=VERSION,
            images=None,
            models=ModelStore(tmp_path / "models"),
            policies=replace(fixed.policies, sandbox=sandbox),
            host=fixed.host,
            power=lambda: fixed.power,
        )
    assert caught.value.code == "policy_unsound"


def image_of(home: Path) -> str | None:
    return next(backend.image_id for backend in reader_of(home).read().backends if backend.name == "cpu_avx2")


def test_an_image_made_from_these_sources_is_installed(tmp_path: Path) -> None:
    assert image_of(tmp_path) is None
    record(tmp_path, inputs_key(SOURCE_ROOT, require_backend(SOURCE_ROOT, "cpu_avx2")))
    assert image_of(tmp_path) == IMAGE


def test_an_image_made_from_other_sources_does_not_run_under_this_version(tmp_path: Path) -> None:
    record(tmp_path, "sha256:" + "0" * 64)
    assert image_of(tmp_path) is None


def test_an_image_that_is_not_the_released_versions_does_not_run_under_it(tmp_path: Path) -> None:
    record(tmp_path, inputs_key(SOURCE_ROOT, require_backend(SOURCE_ROOT, "cpu_avx2")))

    def image_under(images: dict[str, str]) -> str | None:
        backends = reader_of(tmp_path, images).read().backends
        return next(backend.image_id for backend in backends if backend.name == "cpu_avx2")

    assert image_under({"cpu_avx2": IMAGE}) == IMAGE
    assert image_under({"cpu_avx2": "sha256:" + "0" * 64}) is None
    assert image_under({}) is None


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    path = record_path(tmp_path, "cpu_avx2")
    path.parent.mkdir()
    path.write_text(json.dumps({"backend": 1}))
    with pytest.raises(Refusal) as caught:
        image_of(tmp_path)
    assert caught.value.code == "image_missing"


def test_what_an_image_consists_of_comes_from_its_manifest(tmp_path: Path) -> None:
    record(tmp_path, "sha256:" + "0" * 64)
    reader = reader_of(tmp_path)
    reader.read()
    facts = reader.describe_image("cpu_avx2", IMAGE)
    assert facts.files == {"/usr/bin/python3.11": "e" * 64}
    assert "AVX2" in facts.ggml_features
    (tmp_path / "manifest.json").unlink()
    assert reader.describe_image("cpu_avx2", IMAGE) == facts


@pytest.mark.parametrize("content", [MANIFEST + b" ", None])
def test_a_manifest_that_is_not_the_images_is_refused(tmp_path: Path, content: bytes | None) -> None:
    record(tmp_path, "sha256:" + "0" * 64)
    (tmp_path / "manifest.json").unlink()
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    reader = reader_of(tmp_path)
    reader.read()
    with pytest.raises(Refusal, match="manifest"):
        reader.describe_image("cpu_avx2", IMAGE)


def test_an_image_is_known_as_long_as_a_plan_can_name_it(tmp_path: Path) -> None:
    reader = reader_of(tmp_path)
    with pytest.raises(Refusal) as caught:
        reader.describe_image("cpu_avx2", IMAGE)
    assert caught.value.code == "image_missing"
    record(tmp_path, "sha256:" + "0" * 64)
    reader.read()
    record_path(tmp_path, "cpu_avx2").unlink()
    assert reader.describe_image("cpu_avx2", IMAGE).files


def test_a_report_of_the_escape_suite_speaks_for_the_sandbox_that_it_was_made_of(tmp_path: Path) -> None:
    reader, reports = reader_of(tmp_path), EscapeReports(tmp_path / "escape")
    assert reader.find_escape_evidence(make_plan()).digest is None
    report = make_escape_report(kernel=os.uname().release)
    reports.store(report)
    assert reader.find_escape_evidence(make_plan()).digest == report.canonical_digest()
    # It is read again when it has changed, also where its size has not.
    reports.store(make_escape_report(kernel="9" * len(os.uname().release)))
    evidence = reader.find_escape_evidence(make_plan())
    assert evidence.digest is None
    assert "kernel" in (evidence.reason or "")
