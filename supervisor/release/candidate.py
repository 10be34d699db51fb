"""The release candidate: a supervisor that runs from the source tree, on a home of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.api.responses import ModelList, VersionView
from contracts.releases.reports import ComparedModel
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.identity.keys import PASSPHRASE_FILE
from supervisor.client.child_supervisor import child_supervisor
from supervisor.client.engine_client import EngineClient
from supervisor.domain.errors import EngineError
from supervisor.release.subject import Subject

__all__ = ["RunningCandidate", "serving_candidate"]

# Without a stream, the answer comes only at the end of the execution, which may take this long by default.
READ_TIMEOUT_S = 330.0
SHARED = ("images", "models")


@dataclass(frozen=True, slots=True)
class RunningCandidate:
    """A supervisor that answers requests."""

    client: EngineClient
    version: VersionView
    model: ComparedModel

    def subject(self, backend: str, isolation: IsolationTier) -> Subject:
        """Return one of its backends in one tier."""
        return Subject(self.client, self.version, backend, isolation, self.model)


@contextmanager
def serving_candidate(
    home: Home, source_root: Path, docker_host: str, model: tuple[str, str]
) -> Iterator[RunningCandidate]:
    """Serve a source tree for as long as the block runs.

    The supervisor gets a temporary home with the images and models of the real one. It therefore runs as a development
    version with a temporary key, and its executions do not enter the real ledger.

    Args:
        home: the home of the installation.
        source_root: the source tree to run.
        docker_host: URL of the container engine.
        model: name and quantization of an installed model.

    Raises:
        EngineError: ``engine_unavailable`` if the supervisor does not start; ``model_missing``.
    """
    own = Home(Path(tempfile.mkdtemp(prefix=".candidate.", dir=home.root)))
    try:
        for name in SHARED:
            (own.root / name).symlink_to(home.root / name)
        environment = {name: value for name, value in os.environ.items() if name != PASSPHRASE_FILE}
        environment |= {"WEOS_HOME": str(own.root), "DOCKER_HOST": docker_host, "PYTHONPATH": str(source_root)}
        client = EngineClient(own, READ_TIMEOUT_S)
        with child_supervisor(client, own.root / "log" / "supervisor.log", environment):
            version = VersionView.parse(client.get_bytes("/v1/version"))
            yield RunningCandidate(client, version, _find_model(client, model))
    finally:
        shutil.rmtree(own.root, ignore_errors=True)


def _find_model(client: EngineClient, model: tuple[str, str]) -> ComparedModel:
    installed = ModelList.parse(client.get_bytes("/v1/models")).models
    for each in installed:
        if (each.name, each.quantization) == model:
            return ComparedModel(name=each.name, quantization=each.quantization, sha256=each.sha256)
    detail = f"the trial needs the model {model[0]} ({model[1]}), which is not installed; install it with: make setup"
    raise EngineError("model_missing", detail)
