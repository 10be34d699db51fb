"""The outside world as the engine needs it: one interface per kind, implemented in `supervisor.adapters`."""

from typing import Protocol

from contracts.execution.execution_plan import ExecutionPlan
from contracts.verify.speaker import ReleaseEvidence
from supervisor.domain.planning.installation import Installation
from supervisor.domain.sandbox.escape_evidence import EscapeEvidence
from supervisor.domain.sandbox.receipt import ImageFacts

__all__ = ["InstallationPort", "ReleasesPort"]


class ReleasesPort(Protocol):
    """What is known of released versions."""

    def evidence(self, version: str) -> ReleaseEvidence:
        """Return the manifest, revocation and root keyrings of a version, as envelopes that nobody has verified."""
        ...


class InstallationPort(Protocol):
    """What is installed at this moment."""

    def read(self) -> Installation:
        """Return the installation as it is now; models and images may come and go."""
        ...

    def describe_image(self, backend: str, image_id: str) -> ImageFacts:
        """Return what an image consists of that `read` has named before.

        Raises:
            Refusal: ``image_missing``; nothing is recorded of it, or its manifest was changed.
        """
        ...

    def find_escape_evidence(self, plan: ExecutionPlan) -> EscapeEvidence:
        """Return which report of the escape suite speaks for a plan's sandbox, or why none does."""
        ...
