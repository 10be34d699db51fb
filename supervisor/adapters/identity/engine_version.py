"""What a source tree is: its version, and the digest of everything in it that shapes a result."""

import tomllib
from pathlib import Path

from contracts.releases.manifest import SourceFile, digest_of_source
from contracts.wire.types import Digest
from supervisor.adapters.files import digest_of_file

__all__ = ["SHAPING_DIRECTORIES", "development_version", "release_version", "source_digest", "source_files"]

SHAPING_DIRECTORIES = ("contracts", "policies", "runtime-image", "supervisor")
IGNORED = "__pycache__"
VERSION_DIGITS = 12


def source_files(source_root: Path) -> tuple[SourceFile, ...]:
    """Return the files that shape a result, sorted by the parts of their paths."""
    return tuple(
        SourceFile(
            path=path.relative_to(source_root).as_posix(),
            sha256=digest_of_file(path),
        )
        for directory in SHAPING_DIRECTORIES
        for path in sorted((source_root / directory).rglob("*"))
        if path.is_file() and IGNORED not in path.parts
    )


def source_digest(source_root: Path) -> Digest:
    """Return the digest over the names and contents of the files that shape a result."""
    return digest_of_source(source_files(source_root))


def release_version(source_root: Path) -> str:
    """Return the version that the tree is, or grows from: its `pyproject.toml` says so."""
    with (source_root / "pyproject.toml").open("rb") as file:
        version: str = tomllib.load(file)["project"]["version"]
    return version


def development_version(source_root: Path) -> str:
    """Return the version that this tree runs as: one content, one version, one key."""
    digits = source_digest(source_root).removeprefix("sha256:")[:VERSION_DIGITS]
    return f"{release_version(source_root)}+dev.{digits}"
