"""The calibration of a machine: its measurement, its idle baseline, and whether a stored one is still valid. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles

from contracts.execution.calibration import Calibration, CalibrationStep, HostFingerprint
from contracts.execution.power_evidence import DomainName, PowerBaseline, PowerModel
from contracts.wire.units import MW_NS_PER_UJ, NS_PER_MS
from supervisor.domain.power.meter import MeterReading

__all__ = [
    "Interval",
    "busy_counts",
    "declare_calibration",
    "derive_baseline",
    "interval_between",
    "judge_calibration",
    "judge_quiet",
    "measure_calibration",
    "median_mw",
]

# CPUs that may be busy on a quiet host: enough for the calibrating process and a daemon or two, and on a large machine
# one CPU in fifty.
QUIET_CPUS = 0.15
QUIET_SHARE = 0.02
# Minimum share of the CPUs kept busy on purpose that must really be busy; a virtual machine may be given less.
BUSY_SHARE = 0.8
# A clock that was set back a little at startup is no reason to measure again.
CLOCK_TOLERANCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Interval:
    """The counts between two readings."""

    duration_ns: int
    energy_uj: int
    """Energy of all domains together."""
    busy_ns: int
    """CPU time of everything on the host."""

    @property
    def power_mw(self) -> int:
        """Mean power, in milliwatts."""
        return self.energy_uj * MW_NS_PER_UJ // self.duration_ns


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def interval_between(before: MeterReading, after: MeterReading) -> Interval | None:
    """Return the counts between two readings, or None if a counter could not be read."""
    duration_ns = after.at_ns - before.at_ns
    if duration_ns <= 0 or before.busy_ns is None or after.busy_ns is None:
        return None
    energy_uj = 0
    for name, end_uj in after.energy_uj.items():
        start_uj = before.energy_uj[name]
        if start_uj is None or end_uj is None:
            return None
        energy_uj += end_uj - start_uj
    return Interval(duration_ns, energy_uj, after.busy_ns - before.busy_ns)


def judge_quiet(intervals: Sequence[Interval], logical_cpus: int, *, own_cpus: int = 0) -> str | None:
    """Return why the host was busier or less busy than a measurement needs, or None if it was fine.

    Args:
        intervals: the measured intervals, at least one.
        logical_cpus: number of logical CPUs of the host.
        own_cpus: number of CPUs that are kept busy on purpose.
    """
    busy = sum(each.busy_ns for each in intervals) / sum(each.duration_ns for each in intervals)
    if busy < BUSY_SHARE * own_cpus:
        return f"{own_cpus} CPUs should have been busy, but only {busy:.2f} were: this machine's host gives it no more"
    busy -= own_cpus
    allowed = max(QUIET_CPUS, QUIET_SHARE * logical_cpus)
    if busy <= allowed:
        return None
    return f"other programs keep {busy:.2f} of its {logical_cpus} CPUs busy, but at most {allowed:.2f} are allowed"


def busy_counts(logical_cpus: int) -> tuple[int, ...]:
    """Return the numbers of busy CPUs to measure with: 1, 2, 4 and so on, and all."""
    powers = (1 << exponent for exponent in range(logical_cpus.bit_length()))
    return tuple(sorted({*powers, logical_cpus}))


def median_mw(intervals: Sequence[Interval]) -> int:
    """Return the median power, in milliwatts."""
    return round(median(each.power_mw for each in intervals))


def measure_calibration(
    idle: Sequence[Interval],
    steps: Sequence[CalibrationStep],
    *,
    domains: Sequence[DomainName],
    host: HostFingerprint,
    engine_version: str,
    now: datetime,
) -> Calibration:
    """Return the calibration that follows from the measurements.

    Args:
        idle: intervals of the idle host, at least two.
        steps: median powers with some CPUs busy, at least one.
        domains: the metered domains.
        host: the machine.
        engine_version: version of the engine that measured.
        now: end of the measurement.
    """
    lower, middle, upper = quantiles([each.power_mw for each in idle], n=4, method="inclusive")
    idle_mw = round(middle)
    added_mw = [max(0, step.power_mw - idle_mw) / step.busy_cpus for step in steps]
    return Calibration(
        schema_version="weos.calibration/1",
        engine_version=engine_version,
        measured_at=_timestamp(now),
        host=host,
        source="rapl",
        family=None,
        domains=tuple(domains),
        idle_mw=idle_mw,
        spread_mw=round(upper - lower),
        busy_cpu_mw=round(max(added_mw)),
        samples=len(idle),
        duration_ms=sum(each.duration_ns for each in idle) // NS_PER_MS,
        steps=tuple(steps),
    )


def declare_calibration(model: PowerModel, *, host: HostFingerprint, engine_version: str, now: datetime) -> Calibration:
    """Return the calibration of a machine on which nothing can be measured, taken from the table's row."""
    return Calibration(
        schema_version="weos.calibration/1",
        engine_version=engine_version,
        measured_at=_timestamp(now),
        host=host,
        source="model",
        family=model.family,
        domains=(),
        idle_mw=model.idle_mw * host.logical_cpus,
        spread_mw=0,
        busy_cpu_mw=max(0, model.busy_mw - model.idle_mw),
        samples=0,
        duration_ms=0,
        steps=(),
    )


def judge_calibration(
    calibration: Calibration,
    host: HostFingerprint,
    now: datetime,
    max_age_days: int,
    *,
    domains: Sequence[DomainName],
) -> str | None:
    """Return why a calibration is not valid on this machine now, or None if it is valid.

    Args:
        calibration: the stored calibration.
        host: this machine.
        now: current time, UTC.
        max_age_days: maximum age that the policy allows.
        domains: the domains that can be metered now.
    """
    if calibration.host != host:
        different = [name for name in type(host).model_fields if getattr(calibration.host, name) != getattr(host, name)]
        return f"it was made on another machine: {', '.join(different)} differ"
    age = now - datetime.fromisoformat(calibration.measured_at)
    if age < -CLOCK_TOLERANCE:
        return f"its date lies in the future ({calibration.measured_at}); check the clock of this machine"
    if age > timedelta(days=max_age_days):
        return f"it is {age.days} days old, but the policy allows at most {max_age_days} days"
    if set(calibration.domains) != set(domains):
        measured = ", ".join(calibration.domains) or "nothing"
        return f"it measured {measured}, but now {', '.join(domains) or 'nothing'} can be measured"
    return None


def derive_baseline(calibration: Calibration | None, model: PowerModel, host_cpus: int) -> PowerBaseline:
    """Return the idle baseline of a record.

    Args:
        calibration: a valid calibration. If it is None or was itself taken from the table, the row is used.
        model: the table's row.
        host_cpus: logical CPUs of the host.
    """
    if calibration is not None and calibration.source != "model":
        return calibration.baseline()
    return PowerBaseline(
        id=model.canonical_digest(),
        source="declared",
        idle_mw=model.idle_mw * host_cpus,
        spread_mw=0,
        measured_at=None,
    )
