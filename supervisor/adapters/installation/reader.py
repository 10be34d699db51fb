"""The installation as it is at this moment: models and images may come and go, the rest is fixed at start."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from contracts.execution.execution_plan import ExecutionPlan
from contracts.wire.document import sha256_digest
from contracts.wire.types import Digest
from supervisor.adapters.home import Home
from supervisor.adapters.installation.backends import BackendDefinition, load_backends
from supervisor.adapters.installation.escape_reports import EscapeReports
from supervisor.adapters.installation.image_inputs import inputs_key
from supervisor.adapters.installation.image_record import BuiltImage, stored_image
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.errors import EngineError, Refusal, SetupError
from supervisor.domain.planning.installation import Backend, HostFacts, Installation
from supervisor.domain.policies.policy import Policies
from supervisor.domain.power.facts import PowerFacts
from supervisor.domain.sandbox.escape_evidence import EscapeEvidence, find_evidence
from supervisor.domain.sandbox.receipt import ImageFacts

__all__ = ["InstallationReader"]


class InstallationReader:
    """See ``ports.InstallationPort``."""

    def __init__(
        self,
        home: Path,
        source_root: Path,
        *,
        engine_version: str,
        images: Mapping[str, str] | None,
        models: ModelStore,
        policies: Policies,
        host: HostFacts,
        power: Callable[[], PowerFacts],
    ) -> None:
        """Look at one installation.

        Args:
            home: where it lies.
            source_root: its source.
            engine_version: as which it runs.
            images: the images of that version by backend; None: those made from this source.
            models: installed models.
            policies: policies in force.
            host: the machine.
            power: tells of the meter in force, which may be lost and come back.
        """
        self._home = home
        self._definitions = load_backends(source_root)
        unknown = sorted(set(policies.sandbox.isolation.backends) - set(self._definitions))
        if unknown:
            # A demand that is misspelt would demand nothing.
            detail = f"policies/sandbox.toml: isolation.backends names '{unknown[0]}', and there is no such backend"
            raise EngineError("policy_unsound", detail)
        # Fixed at start, like the version that these sources are part of.
        self._inputs = {name: inputs_key(source_root, each) for name, each in self._definitions.items()}
        self._engine_version = engine_version
        self._images = images
        self._models = models
        self._policies = policies
        self._host = host
        self._power = power
        self._escape_reports = EscapeReports(Home(home).escape)
        # Every image that a plan could name, also after another one has taken its place.
        self._seen: dict[str, BuiltImage] = {}
        self._files: dict[str, Mapping[str, str]] = {}

    def read(self) -> Installation:
        """See ``ports.InstallationPort``."""
        return Installation(
            engine_version=self._engine_version,
            models=self._models.list(),
            backends=tuple(self._backend(definition) for _, definition in sorted(self._definitions.items())),
            policies=self._policies,
            host=self._host,
            power=self._power(),
        )

    def describe_image(self, backend: str, image_id: str) -> ImageFacts:
        """See ``ports.InstallationPort``."""
        image = self._seen.get(image_id)
        if image is None:
            raise Refusal("image_missing", f"nothing is recorded of image {image_id}; make it again with: make setup")
        if image.manifest_sha256 not in self._files:
            self._files[image.manifest_sha256] = _read_manifest(Path(image.manifest_path), image.manifest_sha256)
        features = frozenset(self._definitions[backend].ggml_features)
        return ImageFacts(self._files[image.manifest_sha256], features)

    def find_escape_evidence(self, plan: ExecutionPlan) -> EscapeEvidence:
        """See ``ports.InstallationPort``."""
        report = self._escape_reports.read(plan.isolation, plan.backend)
        return find_evidence(report, plan, kernel=os.uname().release)

    def _backend(self, definition: BackendDefinition) -> Backend:
        try:
            image = stored_image(self._home, definition.name)
        except SetupError as error:
            raise Refusal("image_missing", error.detail) from error
        if image is not None:
            self._seen[image.image_id] = image
        belongs_to_version = image is not None and self._belongs_to_version(image)
        return Backend(
            name=definition.name,
            required_cpu_flags=frozenset(definition.required_cpu_flags),
            image_id=image.image_id if image is not None and belongs_to_version else None,
        )

    def _belongs_to_version(self, image: BuiltImage) -> bool:
        # Also an image that is built while a released version runs: it is none of that version's.
        if self._images is not None and self._images.get(image.backend) != image.image_id:
            return False
        return image.inputs_key == self._inputs[image.backend]


def _read_manifest(path: Path, expected: Digest) -> Mapping[str, str]:
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    if sha256_digest(content) != expected:
        detail = f"{path}, the manifest of a runtime image, is missing or was changed; make it again with: make setup"
        raise Refusal("image_missing", detail)
    return {file["path"]: file["sha256"] for file in json.loads(content)["files"]}
