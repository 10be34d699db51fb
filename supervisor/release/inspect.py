"""The verified facts about one release: manifest, reports, revocation, and how this installation differs from it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contracts.releases.manifest import Revocation
from contracts.releases.reports import ComparisonReport, ValidationReport
from contracts.verify.checks import Verified
from contracts.verify.release import SignedManifest, verify_comparison, verify_validation
from supervisor.adapters.home import Home
from supervisor.adapters.identity.content import read_content
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.policies import load_policies
from supervisor.domain.records.versions import Drift, find_drift

__all__ = ["ReleaseFacts", "inspect_release"]


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """The facts about one release."""

    release: SignedManifest
    validation: Verified[ValidationReport]
    comparison: Verified[ComparisonReport]
    revocation: Revocation | None
    drifts: tuple[Drift, ...]
    """Differences between this installation and the manifest."""

    def document(self) -> dict[str, Any]:
        """Return everything as a JSON object."""
        validation, comparison = self.validation.document, self.comparison.document
        return {
            "engine_version": self.release.manifest.engine_version,
            "manifest_digest": self.release.digest,
            "manifest": self.release.manifest.model_dump(mode="json"),
            "validation": {
                "verdict": self.validation.verdict,
                "report": None if validation is None else validation.model_dump(mode="json"),
            },
            "comparison": {
                "verdict": self.comparison.verdict,
                "report": None if comparison is None else comparison.model_dump(mode="json"),
            },
            "revocation": None if self.revocation is None else self.revocation.model_dump(mode="json"),
            "drift": [asdict(drift) for drift in self.drifts],
        }

    def to_json(self) -> str:
        """Return everything as JSON text."""
        return json.dumps(self.document(), indent=1)


def inspect_release(home: Home, source_root: Path, version: str) -> ReleaseFacts:
    """Verify everything that the home has about a version.

    Raises:
        EngineError: ``release_unknown``, ``release_unsound``, ``root_unsound`` or ``policy_unsound``.
    """
    store = ReleaseStore(home.root)
    release = store.manifest(version)
    policies = load_policies(source_root / "policies").digests
    return ReleaseFacts(
        release=release,
        validation=verify_validation(store.read(version, "validation.json") or b"", release),
        comparison=verify_comparison(store.read(version, "comparison.json") or b"", release),
        revocation=store.revocation(version),
        drifts=find_drift(release.manifest, read_content(home.root, source_root, policies)),
    )
