"""What is remembered of a built runtime image: `WEOS_HOME/images/<backend>.json`, read strictly."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from supervisor.adapters.files import read_record, replacing
from supervisor.domain.errors import SetupError

__all__ = ["BuiltImage", "record_path", "store_image", "stored_image"]


@dataclass(frozen=True)
class BuiltImage:
    """A runtime image as it was built.

    Attributes:
        backend: Its name in `runtime-image/backends.toml`.
        image_id: The engine's `sha256:` id, by which everything refers to the image.
        size_bytes: The size of its files, as the engine counts them.
        manifest_sha256: Digest of the image's `/opt/weos/manifest.json`, which has every other file's.
        manifest_path: A copy of that file on the host.
        inputs_key: Digest over everything in the repository that the image is made from.
        cmake_flags: The settings it was compiled with, as cmake takes them.
        required_cpu_flags: Names of /proc/cpuinfo that a host must have.
        base_origin: `registry` or `debootstrap`.
        base_reference: What was pulled or made.
        base_release: Debian's point release.
        base_image_id: The base image's id.
        toolchain_image_id: The toolchain image's id.
        source_name: The package whose archive was compiled.
        source_version: Its version.
        source_sha256: Digest of the archive.
        llama_cpp_commit: As the archive's change log names it; None when it does not.
        llama_cpp_commit_reason: Why the commit is None, or where it was found.
    """

    backend: str
    image_id: str
    size_bytes: int
    manifest_sha256: str
    manifest_path: str
    inputs_key: str
    cmake_flags: tuple[str, ...]
    required_cpu_flags: tuple[str, ...]
    base_origin: str
    base_reference: str
    base_release: str
    base_image_id: str
    toolchain_image_id: str
    source_name: str
    source_version: str
    source_sha256: str
    llama_cpp_commit: str | None
    llama_cpp_commit_reason: str


def record_path(home: Path, backend: str) -> Path:
    """Return where a backend's record lies."""
    return home / "images" / f"{backend}.json"


def store_image(home: Path, image: BuiltImage) -> None:
    """Record an image."""
    with replacing(record_path(home, image.backend)) as temporary:
        temporary.write_text(json.dumps(asdict(image), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def stored_image(home: Path, backend: str) -> BuiltImage | None:
    """Return the recorded image, None where there is no record.

    Raises:
        SetupError: record_invalid.
    """
    path = record_path(home, backend)
    record = read_record(path)
    if record is None:
        return None
    try:
        image = _parse(record)
    except TypeError as error:
        message = f"{path} is not an image's record ({error}). Remove it and set up again: rm {path} && make setup"
        raise SetupError("record_invalid", message) from error
    if image.backend != backend:
        message = f"{path} is the record of {image.backend}. Remove it and set up again: rm {path} && make setup"
        raise SetupError("record_invalid", message)
    return image


def _parse(record: dict[str, object]) -> BuiltImage:
    names = {field.name for field in fields(BuiltImage)}
    if set(record) != names:
        message = f"fields {sorted(set(record) ^ names)} are missing or unknown"
        raise TypeError(message)
    hints = get_type_hints(BuiltImage)
    values: dict[str, Any] = {name: _checked(name, record[name], hints[name]) for name in names}
    return BuiltImage(**values)


def _checked(name: str, value: object, hint: object) -> object:
    if hint == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, str) or (value is None and hint == (str | None)):
        return value
    message = f"{name} has the wrong type"
    raise TypeError(message)
