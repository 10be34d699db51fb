"""The runtime image of one backend, from sources to a recorded image id."""

import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import docker

from contracts.wire.document import sha256_digest
from supervisor.adapters.files import build_lock, digest_of_file, usable_home, write_public
from supervisor.adapters.installation.backends import BackendDefinition, default_source_root, require_backend
from supervisor.adapters.installation.image_inputs import (
    ASSEMBLER,
    COPIED_PACKAGES,
    DOCKERFILE,
    LOCKDOWN_COMPILER,
    LOCKDOWN_POLICY,
    START_FILE,
    inputs_key,
)
from supervisor.adapters.installation.image_record import BuiltImage, store_image, stored_image
from supervisor.console.steps import Progress
from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_api import (
    BUILD_SILENCE_TIMEOUT_S,
    build_image,
    find_image,
    image_size_bytes,
    opened_container_engine,
    removed_at_end,
)
from supervisor.setup.images.base_image import BaseImage, ensure_base_image
from supervisor.setup.images.llama_build import build_key, ensure_build
from supervisor.setup.images.sources import Archive, fetch_archive, llama_cpp_commit, parse_archives, unpack_source
from supervisor.setup.images.toolchain import ensure_toolchain
from supervisor.setup.images.unpacking import unpack_files

__all__ = [
    "BINDINGS",
    "SOURCE_NAME",
    "TEMPLATE_ENGINE_FILES",
    "BuiltImage",
    "build_runtime_image",
]
SOURCE_NAME = "llama-cpp-python"
TEMPLATE_ENGINE = "minijinja"
# All that the runner imports of the package; the high-level one, with numpy and jinja2, stays out.
BINDINGS = ("llama_cpp.py", "_ctypes_extensions.py", "llama_grammar.py")
TEMPLATE_ENGINE_FILES = ("__init__.py", "_internal.py", "_lowlevel.abi3.so")
IMAGE_MANIFEST = "/opt/weos/manifest.json"


@dataclass(frozen=True)
class _Parts:
    """Everything that an image is assembled from."""

    backend: BackendDefinition
    archive: Archive
    source_dir: Path
    libraries: Path
    template_engine: Path
    base: BaseImage
    toolchain_id: str


def build_runtime_image(
    home: Path, backend: str, progress: Progress, docker_host: str, source_root: Path | None = None
) -> BuiltImage:
    """Return the image of a backend, built if its inputs changed or the container engine lost it.

    Raises:
        SetupError: a step failed; the message says how to fix it.
    """
    root = source_root or default_source_root()
    definition = require_backend(root, backend)
    key = inputs_key(root, definition)
    with usable_home(home), build_lock(home):
        kept = _kept_image(home, backend)
        if kept is not None and kept.inputs_key == key and _is_present(kept, docker_host):
            progress.unchanged(f"Runtime image {backend}")
            return kept
        parts = _prepare_parts(home, definition, root, progress, docker_host)
        image = _assemble(home, key, parts, root, progress, docker_host)
        store_image(home, image)
    return image


def _kept_image(home: Path, backend: str) -> BuiltImage | None:
    # A record that cannot be read, from another version of set-up or damaged, is replaced by building again.
    try:
        return stored_image(home, backend)
    except SetupError as error:
        if error.code != "record_invalid":
            raise
        return None


def _is_present(image: BuiltImage, docker_host: str) -> bool:
    with opened_container_engine(docker_host) as client:
        return Path(image.manifest_path).exists() and find_image(client, image.image_id)


def _prepare_parts(home: Path, backend: BackendDefinition, root: Path, progress: Progress, docker_host: str) -> _Parts:
    archives = parse_archives((root / "runtime-image" / "sources.txt").read_text(encoding="utf-8"))
    archive = archives[SOURCE_NAME]
    base = ensure_base_image(home, progress, docker_host)
    toolchain_id = ensure_toolchain(home, base, root, progress, docker_host)
    file = fetch_archive(home, archive, "llama.cpp and its bindings, compiled here from source", progress)
    source_dir = unpack_source(home, archive, file, progress)
    key = build_key(archive, backend, toolchain_id, root)
    libraries = ensure_build(home, key, source_dir, backend, toolchain_id, root, progress, docker_host)
    reason = "renders the chat templates of models, in the sandbox"
    template_engine = fetch_archive(home, archives[TEMPLATE_ENGINE], reason, progress)
    return _Parts(backend, archive, source_dir, libraries, template_engine, base, toolchain_id)


def _assemble(home: Path, key: str, parts: _Parts, root: Path, progress: Progress, docker_host: str) -> BuiltImage:
    name = parts.backend.name
    reason = "python3, the runner and the libraries they map; no shell, no package manager, no compiler"
    with (
        progress.step(f"Assembling the runtime image {name}", reason) as step,
        tempfile.TemporaryDirectory() as context,
        opened_container_engine(docker_host, BUILD_SILENCE_TIMEOUT_S) as client,
    ):
        _fill_context(Path(context), parts, root)
        arguments = {"TOOLCHAIN": parts.toolchain_id}
        image_id = build_image(client, Path(context), DOCKERFILE, arguments, f"weos-runtime:{name}", step)
        manifest = _read_manifest(client, image_id)
        size_bytes = image_size_bytes(client, image_id)
        step.note(f"{image_id} ({size_bytes / 1e6:.1f} MB)")
    digest = sha256_digest(manifest)
    manifest_path = home / "images" / "manifests" / f"{digest.removeprefix('sha256:')}.json"
    write_public(manifest_path, manifest)
    commit = llama_cpp_commit(parts.source_dir, parts.archive.version)
    found = "named by the source archive's CHANGELOG.md" if commit else "the source archive does not name it"
    return BuiltImage(
        backend=name,
        image_id=image_id,
        size_bytes=size_bytes,
        manifest_sha256=digest,
        manifest_path=str(manifest_path),
        inputs_key=key,
        cmake_flags=tuple(parts.backend.cmake_arguments()),
        required_cpu_flags=parts.backend.required_cpu_flags,
        base_origin=parts.base.origin,
        base_reference=parts.base.reference,
        base_release=parts.base.release,
        base_image_id=parts.base.image_id,
        toolchain_image_id=parts.toolchain_id,
        source_name=parts.archive.name,
        source_version=parts.archive.version,
        source_sha256=parts.archive.digest,
        llama_cpp_commit=commit,
        llama_cpp_commit_reason=found,
    )


def _fill_context(context: Path, parts: _Parts, root: Path) -> None:
    definitions = root / "runtime-image"
    shutil.copyfile(definitions / DOCKERFILE, context / DOCKERFILE)
    shutil.copyfile(definitions / ASSEMBLER, context / ASSEMBLER.name)
    shutil.copyfile(definitions / LOCKDOWN_COMPILER, context / LOCKDOWN_COMPILER.name)
    shutil.copyfile(root / LOCKDOWN_POLICY, context / LOCKDOWN_POLICY.name)
    shutil.copyfile(definitions / START_FILE, context / START_FILE)
    for package in COPIED_PACKAGES:
        (context / package).mkdir()
        for file in (definitions / package).glob("*.py"):
            shutil.copyfile(file, context / package / file.name)
    bindings = context / "llama_cpp"
    bindings.mkdir()
    for name in BINDINGS:
        shutil.copyfile(parts.source_dir / "llama_cpp" / name, bindings / name)
    with tarfile.open(parts.libraries) as tar:
        unpack_files(tar, bindings)
    with zipfile.ZipFile(parts.template_engine) as wheel:
        for name in TEMPLATE_ENGINE_FILES:
            wheel.extract(f"{TEMPLATE_ENGINE}/{name}", context)
    build = {
        "backend": parts.backend.name,
        "llama_cpp_version": parts.archive.version,
        # What the program of lock two is compiled from; the supervisor compares it with the policy in force.
        "lockdown_policy": digest_of_file(context / LOCKDOWN_POLICY.name),
    }
    (context / "build.json").write_text(json.dumps(build, sort_keys=True) + "\n", encoding="utf-8")


def _read_manifest(client: docker.DockerClient, image_id: str) -> bytes:
    container_id = client.api.create_container(image_id, network_disabled=True)["Id"]
    with removed_at_end(client, container_id):
        archive = b"".join(client.api.get_archive(container_id, IMAGE_MANIFEST)[0])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(Path(IMAGE_MANIFEST).name)
        if member is None:
            message = f"image {image_id} has no {IMAGE_MANIFEST}. Build it again: make setup"
            raise SetupError("image_build_failed", message)
        return member.read()
