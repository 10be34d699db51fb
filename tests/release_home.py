"""A home with a source tree of its own, a recorded image, a root and releases, without a container engine."""

import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contracts.releases.statements import state_comparison, state_manifest, state_validation
from contracts.verify.release import SignedManifest
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import seal
from supervisor.adapters.files import write_private
from supervisor.adapters.home import Home
from supervisor.adapters.identity.content import read_content
from supervisor.adapters.identity.engine_version import SHAPING_DIRECTORIES
from supervisor.adapters.identity.keys import FileSigner, engine_passphrase, key_path, make_signer
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.installation.backends import require_backend
from supervisor.adapters.installation.image_inputs import inputs_key
from supervisor.adapters.installation.image_record import BuiltImage, store_image
from supervisor.adapters.policies import load_policies
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.records.versions import build_manifest
from supervisor.release.root_directory import RootDirectory
from tests.releases import make_comparison, make_validation

__all__ = ["PASSPHRASE", "ReleaseHome", "copy_source", "set_version"]

PASSPHRASE = b"a long enough passphrase"
WHEN = datetime(2026, 1, 30, tzinfo=UTC)
MADE_AT = "2026-01-30T00:00:01.000Z"
IMAGE = "sha256:" + "a" * 64


def set_version(source_root: Path, version: str) -> None:
    """Let a source tree say that it is a version."""
    project = source_root / "pyproject.toml"
    text = re.sub(r'^version = ".*"$', f'version = "{version}"', project.read_text(), count=1, flags=re.MULTILINE)
    project.write_text(text)


def copy_source(target: Path, version: str = "0.1.0") -> Path:
    """Copy the source tree under test and let it say that it is a version."""
    for name in SHAPING_DIRECTORIES:
        shutil.copytree(SOURCE_ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(SOURCE_ROOT / "pyproject.toml", target / "pyproject.toml")
    set_version(target, version)
    return target


@dataclass(frozen=True)
class ReleaseHome:
    """A home, its source, its root."""

    home: Home
    source: Path
    root: RootDirectory

    @classmethod
    def make(cls, place: Path, source: Path | None = None) -> "ReleaseHome":
        """Make one; of a copy of the source under test, unless a source is named."""
        home = Home(place / "home")
        home.root.mkdir(mode=0o700)
        root = RootDirectory(place / "root")
        root.create(PASSPHRASE, WHEN)
        made = cls(home, source or copy_source(place / "source"), root)
        made.store.add_keyrings(root.keyrings())
        made.record_image()
        return made

    @property
    def store(self) -> ReleaseStore:
        return ReleaseStore(self.home.root)

    @property
    def policies(self) -> dict[str, str]:
        return dict(load_policies(self.source / "policies").digests)

    @property
    def image_files(self) -> Path:
        return self.home.root / "image-manifest.json"

    def root_signer(self) -> FileSigner:
        return self.root.signer(lambda: PASSPHRASE)

    def record_image(self, **changes: Any) -> None:
        """Record an image of the source as installed."""
        manifest = b'{"files":[]}'
        self.image_files.write_bytes(manifest)
        values: dict[str, Any] = {
            "backend": "cpu_avx2",
            "image_id": IMAGE,
            "size_bytes": 1,
            "manifest_sha256": sha256_digest(manifest),
            "manifest_path": str(self.image_files),
            "inputs_key": inputs_key(self.source, require_backend(self.source, "cpu_avx2")),
            "cmake_flags": (),
            "required_cpu_flags": (),
            "base_origin": "debootstrap",
            "base_reference": "bookworm",
            "base_release": "12",
            "base_image_id": IMAGE,
            "toolchain_image_id": IMAGE,
            "source_name": "llama-cpp-python",
            "source_version": "0.3.36",
            "source_sha256": "sha256:" + "0" * 64,
            "llama_cpp_commit": None,
            "llama_cpp_commit_reason": "a test",
        }
        store_image(self.home.root, BuiltImage(**values | changes))

    def publish(self, *, keep_key: bool = True, signer: FileSigner | None = None) -> SignedManifest:
        """Release what is installed, without a trial."""
        content = read_content(self.home.root, self.source, self.policies)
        version, key = content.engine_version, make_signer()
        candidate = {"source": content.source_digest}
        validation, comparison = make_validation(version), make_comparison(version)
        validated = state_validation(
            validation.model_copy(update={"candidate": validation.candidate.model_copy(update=candidate)})
        ).encode()
        compared = state_comparison(
            comparison.model_copy(update={"candidate": comparison.candidate.model_copy(update=candidate)})
        ).encode()
        manifest = build_manifest(
            content,
            commit="a" * 40,
            backends=["cpu_avx2"],
            public_key=key.public_key,
            predecessor=None,
            validation=sha256_digest(validated),
            comparison=sha256_digest(compared),
            created_at=MADE_AT,
        )
        stated = state_manifest(manifest).encode()
        with self.store.staged(version) as directory:
            (directory / "manifest.json").write_bytes(seal(stated, signer or self.root_signer()))
            (directory / "validation.json").write_bytes(seal(validated, key))
            (directory / "comparison.json").write_bytes(seal(compared, key))
        if keep_key:
            path = key_path(self.home.keys, version)
            write_private(path, key.encrypted(engine_passphrase(self.home.keys)))
        return SignedManifest(manifest, sha256_digest(stated))
