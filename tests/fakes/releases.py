"""The releases that a test names: the stand-in for `ReleasesPort`."""

from dataclasses import dataclass, field

from contracts.verify.speaker import ReleaseEvidence

__all__ = ["FakeReleases"]


@dataclass
class FakeReleases:
    """See `ReleasesPort`."""

    known: dict[str, ReleaseEvidence] = field(default_factory=dict)

    def evidence(self, version: str) -> ReleaseEvidence:
        return self.known.get(version, ReleaseEvidence())
