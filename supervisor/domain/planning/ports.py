"""Interfaces to the installation and to released versions, implemented in `supervisor.adapters`."""

from typing import Protocol

from contracts.execution.execution_plan import ExecutionPlan
from contracts.verify.speaker import ReleaseEvidence
from supervisor.domain.planning.installation import Installation
from supervisor.domain.sandbox.escape_evidence import EscapeEvidence
from supervisor.domain.sandbox.receipt import ImageFacts

__all__ = ["InstallationPort", "ReleasesPort"]


class ReleasesPort(Protocol):
    """Evidence about released versions."""

    def evidence(self, version: str) -> ReleaseEvidence:
        """Return the manifest, revocation and root keyrings of a version, as unverified envelopes."""
        ...


class InstallationPort(Protocol):
    """Access to what is installed now."""

    def read(self) -> Installation:
        """Return the current installation; models and images may change between calls."""
        ...

    def describe_image(self, backend: str, image_id: str) -> ImageFacts:
        """Return the contents of an image that an earlier `read` named.

        Raises:
            Refusal: ``image_missing``; no manifest of the image is stored, or its manifest was changed.
        """
        ...

    def find_escape_evidence(self, plan: ExecutionPlan) -> EscapeEvidence:
        """Return which report of the escape suite covers a plan's sandbox, or why none does."""
        ...
