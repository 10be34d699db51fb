"""Meters that say what a test tells them, and evidence as executions leave it."""

import time
from fractions import Fraction

from contracts.execution.power_evidence import (
    DomainName,
    PowerEvidence,
    PowerModel,
    PowerSample,
    PowerSource,
    SampleMark,
)
from supervisor.domain.power.calibration import derive_baseline
from supervisor.domain.power.meter import MeterReading
from supervisor.domain.power.metering import Metering

__all__ = ["POWER_MODEL", "FakeMeter", "make_metering", "make_power"]

POWER_MODEL = PowerModel(family="test", idle_mw=450, busy_mw=1870, low_percent=38, high_percent=162)


class FakeMeter:
    """A meter whose counters a test moves; see ``meter.MeterPort``."""

    def __init__(self, source: PowerSource = "model", domains: tuple[DomainName, ...] = ()) -> None:
        self.source = source
        self.domains = domains
        self.update_ns = 1_000_000
        self.energy_uj: dict[DomainName, int | None] = dict.fromkeys(domains, 0)
        self.busy_ns: int | None = 0
        self.followed: list[str] = []
        self.closed = False

    def read(self) -> MeterReading:
        """See ``meter.MeterPort``."""
        return MeterReading(time.monotonic_ns(), dict(self.energy_uj), self.busy_ns)

    def follow(self, container_id: str) -> None:
        """See ``meter.MeterPort``."""
        self.followed.append(container_id)

    def close(self) -> None:
        """See ``meter.MeterPort``."""
        self.closed = True


def make_metering(meter: FakeMeter | None = None, *, model: PowerModel = POWER_MODEL, host_cpus: int = 4) -> Metering:
    """A meter in force; by default the model's. One that meters the processors comes with a measured idle power."""
    meter = meter or FakeMeter()
    baseline = derive_baseline(None, model, host_cpus)
    if any(not name.startswith("gpu-") for name in meter.domains):
        measured = {"id": "sha256:" + "9" * 64, "source": "measured", "measured_at": "2026-01-30T12:00:00.000Z"}
        baseline = baseline.model_copy(update=measured)
    return Metering(
        port=meter,
        model=model,
        baseline=baseline,
        fallback_reason=None,
        host_cpus=host_cpus,
        interval_ms=1000,
        quota_fault=None,
        sensor_fault=None,
        measured_cpu_mw=None,
    )


def make_power(
    cpu_time_ns: int | None = 150_000_000,
    window_ns: int | None = 82_000_000,
    *,
    prefill_ns: int = 40_000_000,
    reserved_cpus: int = 2,
    model: PowerModel = POWER_MODEL,
) -> PowerEvidence:
    """Evidence by the model: nothing is used while loading, then evenly until the end; None: not to be read."""

    def sample(mark: SampleMark, at_ns: int, part: Fraction) -> PowerSample:
        used = None if cpu_time_ns is None else int(cpu_time_ns * part)
        return PowerSample(at_ns=at_ns, mark=mark, cpu_time_ns=used, busy_ns=None, energy_uj={})

    samples = [sample("start", -100_000_000, Fraction(0)), sample("job", 0, Fraction(0))]
    if window_ns is not None:
        middle_ns = min(prefill_ns, window_ns)
        samples.append(sample("prefill", middle_ns, Fraction(middle_ns, window_ns or 1)))
        samples.append(sample("end", window_ns, Fraction(1)))
    template = make_metering(model=model).template(reserved_cpus=reserved_cpus)
    return template.model_copy(update={"samples": tuple(samples)})
