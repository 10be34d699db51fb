"""The installation as it is at this moment: models and images may come and go, the rest is fixed at start."""

from pathlib import Path

from supervisor.adapters.model_store import ModelStore
from supervisor.domain.errors import Refusal
from supervisor.domain.installation import Backend, HostFacts, Installation
from supervisor.domain.policy import Policies
from supervisor.setup.backends import BackendDefinition, load_backends
from supervisor.setup.errors import SetupError
from supervisor.setup.image_record import stored_image
from supervisor.setup.runtime_image import inputs_key

__all__ = ["InstallationReader"]


class InstallationReader:
    """See ``ports.InstallationPort``."""

    def __init__(
        self,
        home: Path,
        source_root: Path,
        *,
        engine_version: str,
        models: ModelStore,
        policies: Policies,
        host: HostFacts,
    ) -> None:
        self._home = home
        self._definitions = load_backends(source_root)
        # Fixed at start, like the version that these sources are part of.
        self._inputs = {name: inputs_key(source_root, each) for name, each in self._definitions.items()}
        self._engine_version = engine_version
        self._models = models
        self._policies = policies
        self._host = host

    def read(self) -> Installation:
        """See ``ports.InstallationPort``."""
        return Installation(
            engine_version=self._engine_version,
            models=self._models.list(),
            backends=tuple(self._backend(definition) for _, definition in sorted(self._definitions.items())),
            policies=self._policies,
            host=self._host,
        )

    def _backend(self, definition: BackendDefinition) -> Backend:
        try:
            image = stored_image(self._home, definition.name)
        except SetupError as error:
            raise Refusal("image_missing", str(error)) from error
        is_ours = image is not None and image.inputs_key == self._inputs[definition.name]
        return Backend(
            name=definition.name,
            required_cpu_flags=frozenset(definition.required_cpu_flags),
            image_id=image.image_id if image is not None and is_ours else None,
        )
