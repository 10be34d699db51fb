"""The record of a built runtime image: `WEOS_HOME/images/<backend>.json`."""

from pathlib import Path

from contracts.wire.document import Contract, Many
from contracts.wire.errors import ContractError
from contracts.wire.types import BackendName, Count, Digest
from supervisor.adapters.files import write_record
from supervisor.domain.errors import SetupError

__all__ = ["BuiltImage", "record_path", "store_image", "stored_image"]


class BuiltImage(Contract):
    """A runtime image as it was built."""

    backend: BackendName
    """Its name in `runtime-image/backends.toml`."""
    image_id: Digest
    """The container engine's id, by which everything refers to the image."""
    size_bytes: Count
    """The size of its files, as the container engine counts them."""
    manifest_sha256: Digest
    """Digest of the image's `/opt/weos/manifest.json`, which has every other file's."""
    manifest_path: str
    """A copy of that file on the host."""
    inputs_key: Digest
    """Digest over everything in the repository that the image is made from."""
    cmake_flags: Many[str]
    """The settings it was compiled with, as cmake takes them."""
    required_cpu_flags: Many[str]
    """Names of /proc/cpuinfo that a host must have."""
    base_origin: str
    """`registry` or `debootstrap`."""
    base_reference: str
    """What was pulled or made."""
    base_release: str
    """Debian's point release."""
    base_image_id: Digest
    """The base image's id."""
    toolchain_image_id: Digest
    """The toolchain image's id."""
    source_name: str
    """The package whose archive was compiled."""
    source_version: str
    """Its version."""
    source_sha256: Digest
    """Digest of the archive."""
    llama_cpp_commit: str | None
    """As the archive's change log names it; None when it does not."""
    llama_cpp_commit_reason: str
    """Why the commit is None, or where it was found."""


def record_path(home: Path, backend: str) -> Path:
    """Return where a backend's record lies."""
    return home / "images" / f"{backend}.json"


def store_image(home: Path, image: BuiltImage) -> None:
    """Record an image."""
    write_record(record_path(home, image.backend), image.model_dump(mode="json"))


def stored_image(home: Path, backend: str) -> BuiltImage | None:
    """Return the recorded image, None where there is no record.

    Raises:
        SetupError: record_invalid.
    """
    path = record_path(home, backend)
    try:
        image = BuiltImage.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except ContractError as error:
        message = f"{path} is not an image's record ({error}). Remove it and set up again: rm {path} && make setup"
        raise SetupError("record_invalid", message) from error
    if image.backend != backend:
        message = f"{path} is the record of {image.backend}. Remove it and set up again: rm {path} && make setup"
        raise SetupError("record_invalid", message)
    return image
