"""The content-addressed model store: `models/<sha256>/model.gguf`, and an index of names.

A file is hashed while it is copied in. From then on its identity (device, inode, size, times of modification and
change) is compared before every use, and its content again by `verify`; the store is writable by its owner only.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from contracts.execution.execution_plan import PlannedModel
from contracts.wire.document import Contract
from contracts.wire.errors import ContractError
from contracts.wire.types import Count, Digest, ModelName, QuantizationName
from contracts.wire.units import MIB
from supervisor.adapters.files import locked, write_private
from supervisor.adapters.installation.gguf_header import read_gguf_header
from supervisor.adapters.kernel.container_facts import facts_of
from supervisor.domain.errors import EngineError, Refusal
from supervisor.domain.planning.installation import InstalledModel
from supervisor.domain.sandbox.ports import LocatedModel

__all__ = ["ModelStore"]

CHUNK_BYTES = MIB
FILE_NAME = "model.gguf"
Progress = Callable[[int], None]


class FileIdentity(Contract):
    """What the file system says of a file; any write changes it."""

    device: Count
    inode: Count
    size_bytes: Count
    # Nanoseconds since 1970 exceed 2^53, so they are kept as text.
    modified_ns: str
    changed_ns: str

    @classmethod
    def of(cls, status: os.stat_result) -> "FileIdentity":
        """Return the identity behind a stat result."""
        return cls(
            device=status.st_dev,
            inode=status.st_ino,
            size_bytes=status.st_size,
            modified_ns=str(status.st_mtime_ns),
            changed_ns=str(status.st_ctime_ns),
        )


class IndexEntry(Contract):
    """One installed model."""

    name: ModelName
    quantization: QuantizationName
    architecture: str
    context_length: Count
    kv_bytes_per_token: Count
    sha256: Digest
    size_bytes: Count
    identity: FileIdentity


class Index(Contract):
    """`models/index.json`."""

    schema_version: Literal["weos.model-index/1"]
    models: tuple[IndexEntry, ...]


class ModelStore:
    """The models of one home; see ``ports.ModelStorePort``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._index_file = directory / "index.json"

    def list(self) -> tuple[InstalledModel, ...]:
        """Return all installed models by name and quantization."""
        return tuple(
            InstalledModel(
                name=entry.name,
                quantization=entry.quantization,
                architecture=entry.architecture,
                context_length=entry.context_length,
                kv_bytes_per_token=entry.kv_bytes_per_token,
                sha256=entry.sha256,
                size_bytes=entry.size_bytes,
            )
            for entry in sorted(self._entries(), key=lambda entry: (entry.name, entry.quantization))
        )

    def add(
        self, name: str, quantization: str, source: Path, *, architecture: str | None, progress: Progress
    ) -> InstalledModel:
        """Copy a file in, after holding its own header against the claim.

        Args:
            name: name to install it under.
            quantization: what the caller says it is.
            source: the GGUF file.
            architecture: what the caller says it is, if anything.
            progress: called with the number of bytes of each step done.

        Raises:
            EngineError: the claim is wrong, the file is no model, or the name is taken by another file.
        """
        _require_names(name, quantization)
        with self._locked(), self._copied(source, progress) as (copy, sha256):
            # The copy is what will run, so the copy is what is looked at; the source may change meanwhile.
            header = read_gguf_header(copy)
            claims = [("quantization", quantization, header.quantization)]
            if architecture is not None:
                claims.append(("architecture", architecture, header.architecture))
            for what, claimed, real in claims:
                if claimed != real:
                    detail = f"{source.name} is refused: its {what} is {real}, not {claimed}"
                    raise EngineError("model_refused", detail)
            self._require_free(name, quantization, sha256)
            identity = self._place(copy, sha256)
            entry = IndexEntry(
                name=name,
                quantization=quantization,
                architecture=header.architecture,
                context_length=header.context_length,
                kv_bytes_per_token=header.kv_bytes_per_token,
                sha256=sha256,
                size_bytes=identity.size_bytes,
                identity=identity,
            )
            self._enter(entry)
        return next(model for model in self.list() if (model.name, model.quantization) == (name, quantization))

    def remove(self, name: str, quantization: str) -> None:
        """Forget a model, and delete its file where no other name uses it.

        Raises:
            EngineError: ``unknown_model``.
        """
        with self._locked():
            entry = self._find(name, quantization)
            rest = tuple(other for other in self._entries() if other != entry)
            self._write(rest)
            if all(other.sha256 != entry.sha256 for other in rest):
                shutil.rmtree(self._blob_directory(entry.sha256), ignore_errors=True)

    def verify(self, name: str, quantization: str, progress: Progress) -> None:
        """Hash a model's file again.

        Raises:
            EngineError: ``unknown_model``, ``model_missing`` or ``model_altered``.
        """
        entry = self._find(name, quantization)
        path = self._blob_directory(entry.sha256) / FILE_NAME
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise _missing(entry.name) from error
        with os.fdopen(descriptor, "rb") as file:
            before = FileIdentity.of(os.fstat(file.fileno()))
            digest = hashlib.sha256()
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                progress(len(chunk))
            after = FileIdentity.of(os.fstat(file.fileno()))
        if before != after or "sha256:" + digest.hexdigest() != entry.sha256:
            raise _altered(entry.name)
        if before != entry.identity:
            with self._locked():
                others = tuple(other for other in self._entries() if other != entry)
                self._write((*others, entry.model_copy(update={"identity": before})))

    def locate(self, model: PlannedModel) -> LocatedModel:
        """See ``ports.ModelStorePort``."""
        entries = [entry for entry in self._entries() if entry.sha256 == model.sha256]
        directory = self._blob_directory(model.sha256)
        try:
            status = (directory / FILE_NAME).lstat()
        except OSError as error:
            raise _missing(model.name) from error
        if not entries or FileIdentity.of(status) != entries[0].identity or directory.is_symlink():
            raise _altered(model.name)
        return LocatedModel(str(directory), facts_of(status))

    def is_unchanged(self, model: LocatedModel) -> bool:
        """See ``ports.ModelStorePort``."""
        try:
            return facts_of((Path(model.directory) / FILE_NAME).lstat()) == model.file
        except OSError:
            return False

    @contextmanager
    def _copied(self, source: Path, progress: Progress) -> Iterator[tuple[Path, str]]:
        # `incoming-` directories are never named by the index, so a copy that was cut short never counts.
        incoming = self._directory / f"incoming-{os.getpid()}"
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(mode=0o755)
        try:
            copy = incoming / FILE_NAME
            yield copy, _copy_hashed(source, copy, progress)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _require_free(self, name: str, quantization: str, sha256: str) -> None:
        for other in self._entries():
            if (other.name, other.quantization) == (name, quantization) and other.sha256 != sha256:
                detail = f"{name} {quantization} is already installed from another file; remove it first"
                raise EngineError("model_refused", detail)

    def _place(self, copy: Path, sha256: str) -> FileIdentity:
        target = self._blob_directory(sha256)
        known = [entry.identity for entry in self._entries() if entry.sha256 == sha256]
        if known and (target / FILE_NAME).exists():
            present = FileIdentity.of((target / FILE_NAME).lstat())
            if present == known[0]:
                return present
        shutil.rmtree(target, ignore_errors=True)
        copy.parent.rename(target)
        return FileIdentity.of((target / FILE_NAME).lstat())

    def _enter(self, entry: IndexEntry) -> None:
        kept: list[IndexEntry] = []
        for other in self._entries():
            if (other.name, other.quantization) == (entry.name, entry.quantization):
                continue
            # Two names of one file share its identity, which a new copy has just changed.
            fresh = {"identity": entry.identity} if other.sha256 == entry.sha256 else {}
            kept.append(other.model_copy(update=fresh))
        self._write((*kept, entry))

    def _entries(self) -> tuple[IndexEntry, ...]:
        try:
            return Index.parse(self._index_file.read_bytes()).models
        except FileNotFoundError:
            return ()
        except ContractError as error:
            detail = f"{self._index_file} is damaged ({error}); remove it and add the models again"
            raise Refusal("model_index_damaged", detail) from error

    def _find(self, name: str, quantization: str) -> IndexEntry:
        for entry in self._entries():
            if (entry.name, entry.quantization) == (name, quantization):
                return entry
        raise EngineError("unknown_model", f"{name} is not installed as {quantization}; see: weos-engine models list")

    def _write(self, entries: tuple[IndexEntry, ...]) -> None:
        index = Index(schema_version="weos.model-index/1", models=entries)
        write_private(self._index_file, index.model_dump_json(indent=1).encode("utf-8") + b"\n")

    def _blob_directory(self, sha256: str) -> Path:
        return self._directory / sha256.removeprefix("sha256:")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        with locked(self._directory / "index.lock"):
            yield


def _require_names(name: str, quantization: str) -> None:
    try:
        TypeAdapter(ModelName).validate_python(name)
        TypeAdapter(QuantizationName).validate_python(quantization)
    except ValidationError as error:
        detail = (
            "a model's name has lower-case letters, digits, dots, dashes and underscores (at most 64), its "
            "quantization lower-case letters, digits and underscores (at most 16)"
        )
        raise EngineError("model_refused", detail) from error


def _copy_hashed(source: Path, target: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
            progress(len(chunk))
        writer.flush()
        os.fsync(writer.fileno())
    # Read by the container's own user through the mount; written by nobody.
    target.chmod(0o444)
    return "sha256:" + digest.hexdigest()


def _missing(name: str) -> Refusal:
    detail = f"the file of '{name}' is not in the model store; add it again with: weos-engine models add"
    return Refusal("model_missing", detail, field="/model")


def _altered(name: str) -> Refusal:
    detail = (
        f"the file of '{name}' was changed after it was installed; check it with: weos-engine models verify {name}, "
        "or remove it and add it again"
    )
    return Refusal("model_altered", detail, field="/model")
