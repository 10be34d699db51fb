"""The content-addressed model store: `models/<sha256>/model.gguf`, and an index of names.

A file is judged, then copied into a directory of its own and hashed on the way; only its placing holds the store's
lock. From then on its identity (device, inode, size, times of modification and change) is compared before every use,
and its content again by `verify`; the store is writable by its owner only.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from contracts.execution.execution_plan import ModelSignature, PlannedModel
from contracts.model_signing.errors import ModelSignatureError
from contracts.wire.types import Digest
from supervisor.adapters.files import sync_directory
from supervisor.adapters.installation.model_claim import (
    Claim,
    judge_content,
    judge_source,
    require_name,
    require_unchanged,
)
from supervisor.adapters.installation.model_directories import (
    LeftDirectory,
    asides,
    find_left,
    held,
    incoming,
    put_aside,
    remove_left,
)
from supervisor.adapters.installation.model_index import FileIdentity, IndexEntry, ModelIndex
from supervisor.adapters.installation.model_source import Progress, copy_in, hash_file, move_in, open_model_file
from supervisor.adapters.kernel.container_facts import facts_of
from supervisor.domain.errors import EngineError, Refusal
from supervisor.domain.models.model_header import GgufHeader
from supervisor.domain.planning.installation import InstalledModel
from supervisor.domain.sandbox.ports import LocatedModel

__all__ = ["ModelStore", "Removal"]

FILE_NAME = "model.gguf"
# What became of the file of a removed model: deleted, kept for another name, or deleted when the last sandbox that uses
# it ends.
Removal = Literal["deleted", "shared", "in_use"]


class ModelStore:
    """The models of one home; see ``ports.ModelStorePort``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._index = ModelIndex(directory)

    def list(self) -> tuple[InstalledModel, ...]:
        """Return all installed models by name and quantization.

        Raises:
            Refusal: ``model_index_damaged``.
        """
        return tuple(entry.installed for entry in self._index.entries())

    def path_of(self, model: InstalledModel) -> Path:
        """Return where the file of an installed model lies."""
        return self._blob_directory(model.sha256) / FILE_NAME

    def add(
        self, name: str, source: Path, claim: Claim | None = None, *, progress: Progress, take: bool = False
    ) -> InstalledModel:
        """Bring a file in, after holding its own header against the claim.

        Args:
            name: name to install it under.
            source: the GGUF file.
            claim: what the caller says of it.
            progress: called with the number of bytes of each step done.
            take: move the file instead of copying it where that is possible; nobody else may use it.

        Raises:
            EngineError: ``model_refused`` where the claim is wrong, the file is no model, or the name is taken by
                another file; ``digest_mismatch``; ``disk_full``.
            ModelSignatureError: the claimed signature is of other files.
        """
        claim = claim or Claim()
        require_name(name)
        with ExitStack() as stack:
            file = stack.enter_context(open_model_file(source))
            header = judge_source(source, claim)
            with self._index.locked():
                remove_left(self._directory)
                self._require_free((name, header.quantization), source, size_bytes=os.fstat(file.fileno()).st_size)
                directory = stack.enter_context(incoming(self._directory))
            copy = directory / FILE_NAME
            sha256 = move_in(source, copy, progress) if take else None
            if sha256 is None:
                sha256 = copy_in(file, source, copy, progress)
                take = False
            try:
                signature = judge_content(source, claim, sha256)
            except (EngineError, ModelSignatureError):
                if take:
                    # It stays what it was: its user's file.
                    copy.rename(source)
                raise
            require_unchanged(copy, header, source)
            with self._index.locked():
                self._require_free((name, header.quantization), source, sha256=sha256)
                return self._place(name, header, copy, sha256, (signature, claim.parent))

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give an empty directory on the store's disk for as long as the block runs.

        It is removed at the end, and after a kill as what a killed import leaves.
        """
        with ExitStack() as stack:
            with self._index.locked():
                remove_left(self._directory)
                directory = stack.enter_context(incoming(self._directory))
            yield directory

    def remove(self, name: str, quantization: str) -> Removal:
        """Forget a model, and delete its file where nobody else uses it.

        Raises:
            EngineError: ``unknown_model``.
        """
        with self._index.locked():
            entry = self._index.find(name, quantization)
            if self._index.leave(entry):
                return "shared"
            return "deleted" if put_aside(self._blob_directory(entry.sha256)) else "in_use"

    def verify(self, name: str, quantization: str, progress: Progress) -> None:
        """Hash a model's file again.

        Raises:
            EngineError: ``unknown_model``, ``model_missing`` or ``model_altered``.
        """
        entry = self._index.find(name, quantization)
        path = self._blob_directory(entry.sha256) / FILE_NAME
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise _missing(entry.name) from error
        with os.fdopen(descriptor, "rb") as file:
            before = FileIdentity.of(os.fstat(file.fileno()))
            if before.size_bytes != entry.size_bytes:
                raise _altered(entry.name)
            sha256 = hash_file(file, progress)
            after = FileIdentity.of(os.fstat(file.fileno()))
        if before != after or sha256 != entry.sha256:
            raise _altered(entry.name)
        if before != entry.identity:
            with self._index.locked():
                # Only the identity is new; the model may have been removed or signed meanwhile.
                current = self._index.find(name, quantization)
                self._index.enter(current.model_copy(update={"identity": before}))

    def locate(self, model: PlannedModel) -> LocatedModel:
        """See ``ports.ModelStorePort``."""
        entries = [entry for entry in self._index.entries() if entry.sha256 == model.sha256]
        directory = self._blob_directory(model.sha256)
        status = _status_of(directory / FILE_NAME)
        if status is None:
            raise _missing(model.name)
        if not entries or FileIdentity.of(status) != entries[0].identity or directory.is_symlink():
            raise _altered(model.name)
        return LocatedModel(str(directory), facts_of(status))

    @contextmanager
    def hold(self, model: PlannedModel) -> Iterator[LocatedModel]:
        """See ``ports.ModelStorePort``."""
        with ExitStack() as stack:
            try:
                stack.enter_context(held(self._blob_directory(model.sha256)))
            except OSError as error:
                raise _missing(model.name) from error
            # Looked at under the lock: from here on the model may be removed, but its file stays.
            yield self.locate(model)

    def is_unchanged(self, model: LocatedModel) -> bool:
        """See ``ports.ModelStorePort``."""
        # A model that was removed meanwhile lies aside, its file untouched.
        places = (Path(model.directory), *asides(self._directory))
        found = (_status_of(place / FILE_NAME) for place in places)
        return any(status is not None and facts_of(status) == model.file for status in found)

    def leftovers(self) -> tuple[LeftDirectory, ...]:
        """Return what killed imports and removals left in the store."""
        if not self._directory.is_dir():
            return ()
        with self._index.locked():
            named = frozenset(entry.sha256.removeprefix("sha256:") for entry in self._index.entries())
            return find_left(self._directory, named)

    def remove_leftovers(self) -> int:
        """Delete what killed imports and removals left in the store, and return its size in bytes."""
        if not self._directory.is_dir():
            return 0
        with self._index.locked():
            return remove_left(self._directory)

    def _require_free(
        self, key: tuple[str, str], source: Path, *, size_bytes: int | None = None, sha256: Digest | None = None
    ) -> None:
        for other in self._index.entries():
            if other.key == key and (size_bytes or other.size_bytes, sha256 or other.sha256) != (
                other.size_bytes,
                other.sha256,
            ):
                name, quantization = key
                detail = (
                    f"{source} is refused: {name} {quantization} is already installed from another file; choose "
                    f"another name, or remove it first: weos-engine models remove {name} --quantization {quantization}"
                )
                raise EngineError("model_refused", detail)

    def _place(
        self,
        name: str,
        header: GgufHeader,
        copy: Path,
        sha256: Digest,
        origin: tuple[ModelSignature | None, Digest | None],
    ) -> InstalledModel:
        signature, parent = origin
        known = [entry for entry in self._index.entries() if entry.sha256 == sha256]
        target = self._blob_directory(sha256)
        identity = FileIdentity.of(copy.lstat())
        present = _status_of(target / FILE_NAME)
        if known and present is not None and FileIdentity.of(present) == known[0].identity:
            identity = known[0].identity
        else:
            put_aside(target)
            copy.parent.rename(target)
            sync_directory(self._directory)
        same = next((entry for entry in known if entry.key == (name, header.quantization)), None)
        entry = IndexEntry(
            name=name,
            quantization=header.quantization,
            architecture=header.architecture,
            context_length=header.context_length,
            cache=header.cache,
            sha256=sha256,
            size_bytes=identity.size_bytes,
            mixture=header.mixture,
            chat_template=header.chat_template,
            # A file that is added again without its signature is still the file that was signed.
            signature=signature or (same.signature if same else None),
            parent=parent or (same.parent if same else None),
            identity=identity,
        )
        self._index.enter(entry)
        return entry.installed

    def _blob_directory(self, sha256: str) -> Path:
        return self._directory / sha256.removeprefix("sha256:")


def _status_of(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _missing(name: str) -> Refusal:
    detail = f"the file of '{name}' is not in the model store; add it again with: weos-engine models add"
    return Refusal("model_missing", detail, field="/model")


def _altered(name: str) -> Refusal:
    detail = (
        f"the file of '{name}' was changed after it was installed; check it with: weos-engine models verify {name}, "
        "or remove it and add it again"
    )
    return Refusal("model_altered", detail, field="/model")
