"""The version of a development tree: the release it grows from and the digest of everything that shapes a result."""

import hashlib
import tomllib
from pathlib import Path

__all__ = ["development_version", "source_digest"]

SHAPING_DIRECTORIES = ("contracts", "policies", "runtime-image", "supervisor")
_IGNORED = {"__pycache__"}
VERSION_DIGITS = 12


def source_digest(source_root: Path) -> str:
    """Return the hexadecimal SHA-256 over the names and contents of the files that shape a result."""
    digest = hashlib.sha256()
    for directory in SHAPING_DIRECTORIES:
        for path in sorted((source_root / directory).rglob("*")):
            if path.is_file() and not _IGNORED.intersection(path.parts):
                name = path.relative_to(source_root).as_posix().encode("utf-8")
                digest.update(hashlib.sha256(name).digest())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def development_version(source_root: Path) -> str:
    """Return the version that this tree runs as: one content, one version, one key."""
    with (source_root / "pyproject.toml").open("rb") as file:
        release = tomllib.load(file)["project"]["version"]
    return f"{release}+dev.{source_digest(source_root)[:VERSION_DIGITS]}"
