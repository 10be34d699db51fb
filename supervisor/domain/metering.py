"""The meter in force, with all that its readings need to become watts."""

from dataclasses import dataclass

from contracts.base import canonical_bytes, sha256_digest
from contracts.power import PowerBaseline, PowerEvidence, PowerModel
from supervisor.domain.governor import Governor
from supervisor.domain.meter import MeterPort
from supervisor.domain.policy import GovernorPolicy

MW_PER_W = 1000
NANO_CPUS_PER_CPU = 1_000_000_000

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

    def build_governor(self, policy: GovernorPolicy, *, max_watts: float, cores: int, reserved_cpus: int) -> Governor:
        """Return what keeps the limit of one execution.

        By the model a CPU draws what the table says, neither more nor less. Where a sensor will say what it draws the
        governor starts from the upper bound.
        """
        model = self.model
        if self.port.domains:
            idle_mw = self.baseline.idle_mw * reserved_cpus // self.host_cpus
            high_mw = model.busy_mw * model.high_percent // 100
        else:
            idle_mw, high_mw = model.idle_mw * reserved_cpus, model.busy_mw
        return Governor(
            policy,
            cap_mw=max(1, int(max_watts * MW_PER_W)),
            idle_mw=idle_mw,
            quota_max_nano=cores * NANO_CPUS_PER_CPU,
            high_mw_per_cpu=max(1, high_mw - model.idle_mw),
        )
