"""`models/models.json`: the names of the installed models, and what the file system says of each file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from contracts.execution.execution_plan import ModelSignature, TensorTypeCount
from contracts.wire.document import Contract, Many
from contracts.wire.errors import ContractError
from contracts.wire.types import Count, Digest, ModelName, QuantizationName
from supervisor.adapters.files import locked, write_private
from supervisor.domain.errors import EngineError, Refusal
from supervisor.domain.models.cache_shape import CacheShape
from supervisor.domain.planning.installation import InstalledModel

__all__ = ["FileIdentity", "IndexEntry", "ModelIndex"]


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
    cache: CacheShape
    sha256: Digest
    size_bytes: Count
    mixture: Many[TensorTypeCount]
    chat_template: Digest | None
    signature: ModelSignature | None
    parent: Digest | None
    """The file that this one was quantized from; None: it was added."""
    identity: FileIdentity

    @property
    def key(self) -> tuple[str, str]:
        """Name and quantization, which are unique in the index."""
        return self.name, self.quantization

    @property
    def installed(self) -> InstalledModel:
        """The model as planning knows it."""
        return InstalledModel(
            name=self.name,
            quantization=self.quantization,
            architecture=self.architecture,
            context_length=self.context_length,
            cache=self.cache,
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            mixture=self.mixture,
            chat_template=self.chat_template,
            signature=self.signature,
            parent=self.parent,
        )


class Index(Contract):
    """The file's content."""

    schema_version: Literal["weos.model-index/1"]
    models: tuple[IndexEntry, ...]


class ModelIndex:
    """The index of one store, and the lock on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "models.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to change the store; only for moments, because every other change waits."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        with locked(self._directory / "index.lock"):
            yield

    def entries(self) -> tuple[IndexEntry, ...]:
        """Return every installed model by name and quantization.

        Raises:
            Refusal: ``model_index_damaged``.
        """
        try:
            models = Index.parse(self._file.read_bytes()).models
        except FileNotFoundError:
            return ()
        except ContractError as error:
            detail = (
                f"{self._file} is damaged ({error}). Move it away: mv {self._file} {self._file}.damaged; then add the "
                f"models again. Their files are still there: ls {self._directory}/*/model.gguf"
            )
            raise Refusal("model_index_damaged", detail) from error
        return tuple(sorted(models, key=lambda entry: entry.key))

    def find(self, name: str, quantization: str) -> IndexEntry:
        """Return one installed model.

        Raises:
            EngineError: ``unknown_model``.
        """
        for entry in self.entries():
            if entry.key == (name, quantization):
                return entry
        detail = f"{name} is not installed as {quantization}; see: weos-engine models list"
        raise EngineError("unknown_model", detail)

    def enter(self, entry: IndexEntry) -> None:
        """Write a model into the index, in place of the model of the same name and quantization."""
        kept: list[IndexEntry] = []
        for other in self.entries():
            if other.key == entry.key:
                continue
            # Two names of one file share its identity, which a new copy has just changed.
            fresh = {"identity": entry.identity} if other.sha256 == entry.sha256 else {}
            kept.append(other.model_copy(update=fresh))
        self._write((*kept, entry))

    def leave(self, entry: IndexEntry) -> bool:
        """Take a model out of the index, and return whether another name still uses its file."""
        rest = tuple(other for other in self.entries() if other.key != entry.key)
        self._write(rest)
        return any(other.sha256 == entry.sha256 for other in rest)

    def _write(self, entries: tuple[IndexEntry, ...]) -> None:
        index = Index(schema_version="weos.model-index/1", models=entries)
        write_private(self._file, index.model_dump_json(indent=1).encode("utf-8") + b"\n")
