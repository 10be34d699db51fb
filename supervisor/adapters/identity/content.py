"""What an installation consists of at this moment, by digest: source, images, policies, schemas."""

from collections.abc import Mapping
from pathlib import Path

from contracts.releases.manifest import LlamaCpp, ManifestImage, SourceFile
from contracts.wire.document import sha256_digest
from contracts.wire.types import Digest
from supervisor.adapters.identity.engine_version import release_version, source_files
from supervisor.adapters.installation.backends import load_backends
from supervisor.adapters.installation.image_inputs import inputs_key
from supervisor.adapters.installation.image_record import BuiltImage, stored_image
from supervisor.domain.errors import EngineError, SetupError
from supervisor.domain.records.versions import Content

__all__ = ["read_content"]


def read_content(home: Path, source_root: Path, policies: Mapping[str, Digest]) -> Content:
    """Read everything that a manifest names, and hash it.

    Args:
        home: the installation.
        source_root: the source tree.
        policies: digests of the policies in force, by file name.

    Raises:
        EngineError: ``image_missing``, the record of an image is damaged.
    """
    files = source_files(source_root)
    definitions = load_backends(source_root)
    try:
        found = {name: stored_image(home, name) for name in sorted(definitions)}
    except SetupError as error:
        raise EngineError("image_missing", error.detail) from error
    images = {name: image for name, image in found.items() if image is not None}
    stale = {name for name in images if images[name].inputs_key != inputs_key(source_root, definitions[name])}
    return Content(
        engine_version=release_version(source_root),
        files=files,
        images=tuple(_describe_image(image) for image in images.values()),
        stale_images=frozenset(stale),
        llama_cpp=next((_describe_source(image) for image in images.values()), None),
        policies=dict(policies),
        schemas={file.path.removeprefix("contracts/"): file.sha256 for file in files if _is_schema(file)},
    )


def _is_schema(file: SourceFile) -> bool:
    is_json = file.path.startswith("contracts/schemas/") and file.path.endswith(".json")
    return is_json or file.path == "contracts/openapi.json"


def _describe_image(image: BuiltImage) -> ManifestImage:
    # The file itself, not what the record says of it: it is what an execution's code is held against.
    path = Path(image.manifest_path)
    return ManifestImage(
        backend=image.backend,
        image=image.image_id,
        manifest=sha256_digest(path.read_bytes() if path.is_file() else b""),
        inputs=image.inputs_key,
    )


def _describe_source(image: BuiltImage) -> LlamaCpp:
    return LlamaCpp(
        package=image.source_name,
        version=image.source_version,
        archive=image.source_sha256,
        commit=image.llama_cpp_commit,
        commit_reason=image.llama_cpp_commit_reason,
    )
