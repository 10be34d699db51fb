import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_api import find_image, opened_container_engine, removed_at_end
from supervisor.setup.images.base_image import ensure_base_image
from supervisor.setup.images.runtime_image import BINDINGS, TEMPLATE_ENGINE_FILES, BuiltImage, build_runtime_image
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

# The whole build over inputs so small that it takes seconds: what is compiled is one file.
BACKENDS = """
[common.cmake]
A = "1"
[backends.tiny]
required_cpu_flags = ["sse2"]
ggml_features = []
[backends.tiny.cmake]
B = "2"
"""
TOOLCHAIN = "ARG BASE\nFROM ${BASE}\nRUN true\n"
RUNTIME = """ARG TOOLCHAIN
FROM ${TOOLCHAIN} AS assemble
COPY . /input
RUN mkdir -p /rootfs/opt/weos && cp /input/llama_cpp/lib/libllama.so /rootfs/opt/weos/manifest.json
FROM scratch
COPY --from=assemble /rootfs/ /
ENTRYPOINT ["/none"]
"""
COMPILE = """set -eu
echo "[1/2] Building CXX object a/b.o"
test "$*" = "-DA=1 -DB=2"
test "$(ls /sys/class/net)" = lo
test ! -w /src/llama_cpp/llama_cpp.py || ! touch /src/llama_cpp/llama_cpp.py
mkdir -p /out/lib
cp /src/llama_cpp/llama_cpp.py /out/lib/libllama.so
echo "[2/2] Linking"
"""
CONTENT = b"the bindings"

Build = Callable[[], BuiltImage]


def source_archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in BINDINGS:
            member = tarfile.TarInfo(f"tiny-0.1/llama_cpp/{name}")
            member.size = len(CONTENT)
            tar.addfile(member, io.BytesIO(CONTENT))
    return buffer.getvalue()


def template_engine() -> bytes:
    """A wheel with the files that the image takes of it, all empty."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as wheel:
        for name in TEMPLATE_ENGINE_FILES:
            wheel.writestr(f"minijinja/{name}", "")
    return data.getvalue()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    files = {
        "backends.toml": BACKENDS,
        "toolchain.Dockerfile": TOOLCHAIN,
        "Dockerfile": RUNTIME,
        "build/compile.sh": COMPILE,
        "build/assemble.py": "",
        "build/lockdown_compiler.py": "",
        "../policies/lockdown.json": "{}",
        "start.py": "",
        "runner/main.py": "",
        "shims/typing_extensions.py": "",
    }
    root = tmp_path / "checkout"
    for name, text in files.items():
        path = root / "runtime-image" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    archive = source_archive()
    digest = hashlib.sha256(archive).hexdigest()
    wheel = template_engine()
    lines = f"llama-cpp-python==0.1 --hash=sha256:{digest}  # {len(archive)}\n"
    lines += f"minijinja==0.1 --hash=sha256:{hashlib.sha256(wheel).hexdigest()}  # {len(wheel)} wheel\n"
    (root / "runtime-image" / "sources.txt").write_text(lines)
    kept = tmp_path / "home" / "cache" / "archives"
    kept.mkdir(parents=True)
    for each in (archive, wheel):
        (kept / hashlib.sha256(each).hexdigest()).write_bytes(each)
    return root


@pytest.fixture
def home(tmp_path: Path, weos_home: Path, docker_host: str) -> Path:
    """A home of its own that knows the real one's base image."""
    ensure_base_image(weos_home, SilentProgress(), docker_host)
    images = tmp_path / "home" / "images"
    images.mkdir(parents=True)
    shutil.copyfile(weos_home / "images" / "base.json", images / "base.json")
    return tmp_path / "home"


def remove_with_descendants(client: docker.DockerClient, image_id: str) -> None:
    """Remove an image and what the builder kept of the stages that start from it."""
    for child in client.api.images(all=True):
        if child["ParentId"] == image_id:
            remove_with_descendants(client, child["Id"])
    client.api.remove_image(image_id, force=True, noprune=True)


@pytest.fixture
def build(home: Path, checkout: Path, docker_host: str) -> Iterator[Build]:
    built: list[BuiltImage] = []

    def build_once() -> BuiltImage:
        built.append(build_runtime_image(home, "tiny", SilentProgress(), docker_host, checkout))
        return built[-1]

    yield build_once
    with opened_container_engine(docker_host) as client:
        for image_id in {image.toolchain_image_id for image in built}:
            remove_with_descendants(client, image_id)
        for image_id in {image.image_id for image in built}:
            if find_image(client, image_id):
                client.api.remove_image(image_id, force=True)


def test_an_image_is_built_from_its_inputs_and_recorded(build: Build, home: Path) -> None:
    image = build()
    assert image.cmake_flags == ("-DA=1", "-DB=2")
    assert image.manifest_sha256 == "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert Path(image.manifest_path).read_bytes() == CONTENT
    assert image.llama_cpp_commit is None
    assert "[2/2] Linking" in (home / "log" / "compile-tiny.log").read_text()
    assert build() == image


def test_an_image_that_the_engine_lost_is_assembled_again(build: Build, docker_host: str) -> None:
    image = build()
    with opened_container_engine(docker_host) as client:
        client.api.remove_image(image.image_id, force=True)
    again = build()
    with opened_container_engine(docker_host) as client:
        assert find_image(client, again.image_id)
    measured = {"image_id", "size_bytes"}
    assert again.model_dump(exclude=measured) == image.model_dump(exclude=measured)


def test_a_changed_runner_needs_no_compiling(build: Build, checkout: Path, home: Path) -> None:
    image = build()
    (home / "log" / "compile-tiny.log").unlink()
    (checkout / "runtime-image" / "runner" / "main.py").write_text("# changed")
    again = build()
    assert again.inputs_key != image.inputs_key
    assert again.toolchain_image_id == image.toolchain_image_id
    assert not (home / "log" / "compile-tiny.log").exists()


def test_a_failed_compilation_shows_its_last_lines_and_leaves_no_result(
    build: Build, checkout: Path, home: Path, docker_host: str
) -> None:
    (checkout / "runtime-image" / "build" / "compile.sh").write_text("echo no such header; exit 4")
    with pytest.raises(SetupError, match=r"(?s)status 4.*compile-tiny.log.*no such header") as caught:
        build()
    assert caught.value.code == "compile_failed"
    assert not (home / "cache" / "builds").exists()
    with opened_container_engine(docker_host) as client:
        assert not client.api.containers(all=True, filters={"name": "weos-compile-"})


def test_a_failed_image_build_shows_what_the_engine_says(build: Build, checkout: Path) -> None:
    (checkout / "runtime-image" / "Dockerfile").write_text(RUNTIME.replace("mkdir", "no-such-program"))
    with pytest.raises(SetupError, match="no-such-program") as caught:
        build()
    assert caught.value.code == "image_build_failed"


def test_an_image_without_a_manifest_is_refused(build: Build, checkout: Path) -> None:
    (checkout / "runtime-image" / "Dockerfile").write_text(RUNTIME.replace("manifest.json", "other.json"))
    with pytest.raises(SetupError) as caught:
        build()
    assert caught.value.code == "engine_failed"


def test_the_base_image_is_had_from_a_registry_or_from_debians_packages(tmp_path: Path, docker_host: str) -> None:
    base = ensure_base_image(tmp_path, SilentProgress(), docker_host)
    assert base.origin in {"registry", "debootstrap"}
    assert base.release.startswith("12.")
    assert ensure_base_image(tmp_path, SilentProgress(), docker_host) == base
    if base.origin == "debootstrap":
        with opened_container_engine(docker_host) as client:
            client.api.remove_image(base.image_id, force=True)


def test_a_container_is_killed_at_its_deadline_and_removed(build: Build, docker_host: str) -> None:
    image_id = build().toolchain_image_id
    with opened_container_engine(docker_host) as client:
        container_id = client.api.create_container(image_id, ["sleep", "600"])["Id"]
        with removed_at_end(client, container_id, 0.5):
            client.api.start(container_id)
            assert client.api.wait(container_id)["StatusCode"] == 137
        with pytest.raises(docker.errors.NotFound):
            client.api.inspect_container(container_id)
