"""From a source elsewhere to a model in the store."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.wire.types import Digest
from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_claim import Claim, require_name
from supervisor.adapters.installation.model_source import require_room
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.console.steps import Progress
from supervisor.domain.errors import EngineError, SetupError
from supervisor.domain.models.pull_source import HubSource, UrlSource, default_name
from supervisor.domain.planning.installation import InstalledModel
from supervisor.setup.models.download import download_url, fetching_into
from supervisor.setup.models.hub import HubFile, download_hub_file, look_up
from supervisor.setup.models.installing import install_fetched

__all__ = ["Puller"]


@dataclass(frozen=True, slots=True)
class Puller:
    """Fetches models into one home."""

    home: Home
    progress: Progress
    accept: Callable[[HubFile], bool]
    """Shows a file of the hub with its licence, and returns whether the user accepts the licence."""

    def pull_hub(self, source: HubSource, name: str | None, claim: Claim) -> InstalledModel:
        """Install a file of the Hugging Face Hub.

        Args:
            source: where the file is.
            name: name to install it under; None: after its file.
            claim: what the user says of the file.

        Raises:
            SetupError: not_installed, source_fetch_failed, source_busy or licence_not_accepted.
            EngineError: ``source_unknown``, ``disk_full``, ``digest_mismatch`` or ``model_refused``.
        """
        wanted = look_up(source, claim.quantization)
        name = _named(name, wanted.file)
        if claim.sha256 not in {None, wanted.sha256}:
            detail = f"the hub says that {wanted.file} has the SHA-256 {wanted.sha256}, not {claim.sha256}"
            raise EngineError("digest_mismatch", detail)
        claim = replace(claim, sha256=wanted.sha256)
        if not self.accept(wanted):
            message = f"nothing was fetched: the licence of {wanted.page} was not accepted; see --accept-licence"
            raise SetupError("licence_not_accepted", message)

        def fetch(directory: Path) -> Path:
            require_room(wanted.file, wanted.size_bytes, directory)
            return download_hub_file(wanted, directory, self.progress)

        return self._install(name, claim, f"{wanted.repository}@{wanted.commit}/{wanted.file}", fetch)

    def pull_url(self, source: UrlSource, name: str | None, claim: Claim) -> InstalledModel:
        """Install a file of a web server, which the claim pins by its digest.

        Raises:
            SetupError: source_fetch_failed, source_invalid or source_busy.
            EngineError: ``source_unknown``, ``disk_full`` or ``model_refused``.
        """
        sha256 = claim.sha256
        if sha256 is None:
            detail = "a file of a web server is installed only with its digest, from a place that you trust: --sha256"
            raise EngineError("source_unknown", detail)
        name = _named(name, source.file_name)

        def fetch(directory: Path) -> Path:
            return download_url(source, sha256, directory, self.progress)

        return self._install(name, claim, sha256, fetch)

    def _install(self, name: str, claim: Claim, key: str, fetch: Callable[[Path], Path]) -> InstalledModel:
        store = ModelStore(self.home.models)
        known = _find(store, name, claim.sha256)
        if known is not None and claim.signed is None:
            self.progress.unchanged(f"Model {name}")
            return known
        directory = self.home.root / "cache" / "downloads" / hashlib.sha256(key.encode("utf-8")).hexdigest()
        with fetching_into(directory):
            file = fetch(directory)
            try:
                installed = install_fetched(store, name, file, claim, self.progress)
            except EngineError as error:
                if error.code == "digest_mismatch":
                    # Damaged on its way; the next fetch begins again.
                    shutil.rmtree(directory, ignore_errors=True)
                raise
            shutil.rmtree(directory, ignore_errors=True)
        return installed


def _named(name: str | None, file: str) -> str:
    chosen = name or default_name(file)
    require_name(chosen)
    return chosen


def _find(store: ModelStore, name: str, sha256: Digest | None) -> InstalledModel | None:
    return next((each for each in store.list() if (each.name, each.sha256) == (name, sha256)), None)
