"""The meter in force, with all that its readings need to become watts."""

from dataclasses import dataclass

from contracts.base import canonical_bytes, sha256_digest
from contracts.power import PowerBaseline, PowerEvidence, PowerModel
from supervisor.domain.meter import MeterPort

__all__ = ["Metering", "declared_baseline"]


def declared_baseline(model: PowerModel, host_cpus: int) -> PowerBaseline:
    """Return what the table says of the idle machine."""
    return PowerBaseline(
        id=sha256_digest(canonical_bytes(model.model_dump(mode="json"))),
        source="declared",
        idle_mw=model.idle_mw * host_cpus,
        spread_mw=0,
        measured_at=None,
    )


@dataclass(frozen=True, slots=True)
class Metering:
    """What was chosen at start."""

    port: MeterPort
    model: PowerModel
    """The table's row for this processor."""
    baseline: PowerBaseline
    """What the idle machine draws."""
    fallback_reason: str | None
    """Why a better meter is not used."""
    host_cpus: int
    """Logical CPUs of the host."""
    interval_ms: int
    """Between two ticks."""

    def template(self, *, reserved_cpus: int) -> PowerEvidence:
        """Return what the record will hold, without samples."""
        return PowerEvidence(
            source=self.port.source,
            attribution="weos.attribution/2",
            domains=self.port.domains,
            exclusive=False,
            interval_ms=self.interval_ms,
            update_ns=self.port.update_ns,
            model=self.model,
            baseline=self.baseline,
            fallback_reason=self.fallback_reason,
            host_cpus=self.host_cpus,
            reserved_cpus=reserved_cpus,
            samples=(),
            limit=None,
        )
