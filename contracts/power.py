"""What the watts of an execution are computed from, and the arithmetic: pure, exact, the same for engine and auditor.

Units: mW * ns = pJ. Energies are counted in whole microjoules, times in nanoseconds of the engine's monotonic clock.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from operator import add
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.base import MAX_SAFE_INTEGER, Contract, Many
from contracts.types import Count, Digest, Nanoseconds, Timestamp

__all__ = [
    "MAX_SAMPLES",
    "AttributedEnergy",
    "DomainName",
    "Phase",
    "PowerAction",
    "PowerBaseline",
    "PowerEvidence",
    "PowerLimitEvidence",
    "PowerModel",
    "PowerSample",
    "PowerSource",
    "SampleMark",
    "attribute_energy",
    "describe_gap",
    "interval_energy_uj",
    "is_readable",
    "uncertainty_ppm",
]

PJ_PER_UJ = 1_000_000
PPM = 1_000_000
# Of a sensor's own error, and of what attribution by CPU time may be off where another load shares the machine.
SENSOR_PPM = 50_000
ATTRIBUTION_PPM = 500_000
# A record has room for as many; a longer execution is sampled more coarsely.
MAX_SAMPLES = 4096

PowerSource = Literal["model", "rapl", "nvml"]
DomainName = Annotated[str, StringConstraints(pattern=r"^(package|dram|gpu)-[0-9]{1,4}$")]
SampleMark = Literal["start", "job", "tick", "prefill", "end"]
Phase = Literal["load", "prefill", "decode", "job"]
Milliwatts = Annotated[int, Field(ge=0, le=10**9)]


class PowerModel(Contract):
    """The row of `policies/power.toml` that speaks of this processor: electric power of one logical CPU."""

    family: Annotated[str, Field(max_length=64)]
    """Name of the row."""
    idle_mw: Annotated[int, Field(ge=0, le=1_000_000)]
    """Milliwatts of one reserved logical CPU that does nothing."""
    busy_mw: Annotated[int, Field(ge=1, le=1_000_000)]
    """Milliwatts of one logical CPU fully busy, idle share included."""
    low_percent: Annotated[int, Field(ge=0, le=100)]
    """Lower bound of the truth, in percent of the estimate."""
    high_percent: Annotated[int, Field(ge=100, le=1000)]
    """Upper bound of the truth, in percent of the estimate."""


class PowerBaseline(Contract):
    """What the machine draws when it does nothing: measured by `weos-engine power calibrate`, or declared."""

    id: Digest
    """SHA-256 over the RFC 8785 form of the calibration, or of the table's row."""
    source: Literal["measured", "declared"]
    """`measured`: the median of an idle machine's sensor. `declared`: the table's row."""
    idle_mw: Milliwatts
    """Milliwatts of all CPU domains together (`measured`), or of all logical CPUs by the row (`declared`)."""
    spread_mw: Milliwatts
    """Interquartile range of the measurement, in milliwatts; 0 where nothing was measured."""
    measured_at: Timestamp | None
    """When, UTC; null: declared."""


class PowerSample(Contract):
    """Counters at one moment, as they stood beyond the first sample's. Null: not to be read then."""

    at_ns: Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
    """Nanoseconds since the first byte of the job was written; negative while the model loads."""
    mark: SampleMark
    """`start`: the container runs. `job`: before the first byte. `prefill`: the prompt is computed. `end`: after the
    last token. `tick`: in between."""
    cpu_time_ns: Nanoseconds | None
    """CPU time of the execution's control group."""
    busy_ns: Nanoseconds | None
    """CPU time of everything on the host; null also where no sensor needs it."""
    energy_uj: Annotated[dict[DomainName, Count | None], Field(json_schema_extra={"additionalProperties": False})]
    """Microjoules by domain, wrap-around undone; null: a gap."""


class PowerAction(Contract):
    """One setting of the governor's."""

    at_ns: Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
    """When, as in samples."""
    quota_nano_cpus: Count
    """CPU time per second that the control group is given, in nanoseconds."""
    power_mw: Milliwatts | None
    """What was observed over the interval before; null: nothing yet, or a gap."""


class PowerLimitEvidence(Contract):
    """How `max_watts` was kept, or was not."""

    cap_mw: Annotated[int, Field(ge=1, le=10**9)]
    """The limit."""
    basis: Literal["measured", "model"]
    """What the observed power is: a sensor's, attributed, or the table's."""
    tolerance_percent: Annotated[int, Field(ge=0, le=100)]
    """So much above the limit is not over it."""
    grace_ms: Count
    """So long it may be over the limit before it is stopped."""
    windows: Count
    """Rolling windows of one second that were judged."""
    windows_over: Count
    """Those over limit and tolerance."""
    worst_window_mw: Milliwatts | None
    """The highest; null: no window was complete."""
    throttled_ns: Nanoseconds | None
    """Time for which the kernel held the control group back; null: not to be read."""
    throttled_periods: Count | None
    """Periods in which it did; null: not to be read."""
    gpu_limit_mw: Milliwatts | None
    """Power limit that the device was given; null: no device, or its own."""
    actions: Annotated[Many[PowerAction], Field(max_length=MAX_SAMPLES)]
    """What the governor set; the first is the setting at the start."""


class PowerEvidence(Contract):
    """What the watts were computed from."""

    source: PowerSource
    """The meter. `model`: CPU time and a declared table; nothing electrical was measured. `rapl`: the processor's
    energy counters. `nvml`: a GPU's energy counter, and for the CPUs whichever of the others the domains show."""
    attribution: Literal["weos.attribution/2"]
    """Version of the arithmetic, see `attribute_energy`."""
    domains: Annotated[Many[DomainName], Field(max_length=64)]
    """What is metered. `package-N` and `dram-N` are shared by CPU time, `gpu-N` is the execution's whole. Without a
    `package-N` the CPUs' part is the model's."""
    exclusive: bool
    """Whether nothing else ran on the host, so that the CPU domains are the execution's whole. No engine knows that
    yet, and a record that says so is refused."""
    interval_ms: Annotated[int, Field(ge=1, le=86_400_000)]
    """Time between two ticks."""
    update_ns: Nanoseconds
    """How often the slowest counter moves: shorter times cannot be told apart."""
    model: PowerModel
    """The table's row."""
    baseline: PowerBaseline
    """What an idle machine draws."""
    fallback_reason: Annotated[str, StringConstraints(max_length=256)] | None
    """Why a better meter was not used, and why this one has gaps; null: there is no better one, and it has none."""
    host_cpus: Annotated[int, Field(ge=1, le=65_536)]
    """Logical CPUs of the host."""
    reserved_cpus: Annotated[int, Field(ge=1, le=4096)]
    """Logical CPUs leased to the execution."""
    samples: Annotated[Many[PowerSample], Field(max_length=MAX_SAMPLES)]
    """Counters over time, in order; at most one of each mark but `tick`."""
    limit: PowerLimitEvidence | None
    """How `max_watts` was kept; null: none was asked for."""

    @property
    def cpu_domains(self) -> tuple[str, ...]:
        """Domains that are shared by CPU time."""
        return tuple(name for name in self.domains if not name.startswith("gpu-"))

    @property
    def gpu_domains(self) -> tuple[str, ...]:
        """Domains that belong to the execution alone."""
        return tuple(name for name in self.domains if name.startswith("gpu-"))


@dataclass(frozen=True, slots=True)
class AttributedEnergy:
    """Energy of one phase."""

    duration_ns: int
    cpu_uj: Fraction
    """Of processor and memory."""
    gpu_uj: Fraction
    """Of the device."""
    host_uj: Fraction | None
    """What the CPU domains counted altogether; None where nothing is metered. What is not `cpu_uj` is the residual:
    other loads, and the idle machine."""
    share: Fraction
    """Part of the host's busy CPU time that was the execution's; 1 where that is not needed."""

    @property
    def total_uj(self) -> Fraction:
        """All of it."""
        return self.cpu_uj + self.gpu_uj


_EDGES: dict[Phase, tuple[SampleMark, SampleMark]] = {
    "load": ("start", "job"),
    "prefill": ("job", "prefill"),
    "decode": ("prefill", "end"),
    "job": ("job", "end"),
}


def is_readable(power: PowerEvidence, sample: PowerSample) -> bool:
    """Tell whether a sample has every counter that the attribution needs."""
    if sample.cpu_time_ns is None or (power.cpu_domains and not power.exclusive and sample.busy_ns is None):
        return False
    return all(sample.energy_uj.get(name) is not None for name in power.domains)


def describe_gap(power: PowerEvidence, phase: Phase) -> str | None:
    """Return why the energy of a phase cannot be told, None where it can."""
    for mark in _EDGES[phase]:
        found = [sample for sample in power.samples if sample.mark == mark]
        if not found and mark == "start" and power.samples:
            return "its model was loaded before the execution began: a warm start"
        if not found:
            return f"the counters were not read at its edge ({mark})"
        if not is_readable(power, found[0]):
            return f"a counter could not be read at its edge ({mark})"
    return None


def _between(power: PowerEvidence, phase: Phase) -> Sequence[PowerSample]:
    # A gap inside is bridged: the counters go on counting.
    first, last = _EDGES[phase]
    marks = [sample.mark for sample in power.samples]
    inside = power.samples[marks.index(first) : marks.index(last) + 1]
    return [sample for sample in inside if is_readable(power, sample)]


def _delta(before: int | None, after: int | None) -> int:
    return max(0, (after or 0) - (before or 0))


def _energy_uj(sample: PowerSample, domains: Sequence[str]) -> int:
    return sum(sample.energy_uj[name] or 0 for name in domains)


def _cpu_pj(power: PowerEvidence, is_metered: bool, before: PowerSample, after: PowerSample) -> tuple[int, int]:
    """Return the energy of processor and memory between two samples, as numerator and denominator."""
    duration_ns = after.at_ns - before.at_ns
    cpu_ns = _delta(before.cpu_time_ns, after.cpu_time_ns)
    if not is_metered:
        model = power.model
        reserved = power.reserved_cpus * model.idle_mw * duration_ns
        return cpu_ns * max(0, model.busy_mw - model.idle_mw) + reserved, 1
    domains = power.cpu_domains
    counted = _delta(_energy_uj(before, domains), _energy_uj(after, domains)) * PJ_PER_UJ
    if power.exclusive:
        return counted, 1
    idle = min(counted, power.baseline.idle_mw * duration_ns)
    part, whole = _share(cpu_ns, _delta(before.busy_ns, after.busy_ns))
    dynamic = max(0, counted - power.baseline.idle_mw * duration_ns)
    return part * dynamic * power.host_cpus + power.reserved_cpus * idle * whole, whole * power.host_cpus


def _share(cpu_ns: int, busy_ns: int) -> tuple[int, int]:
    if cpu_ns == 0:
        return 0, 1
    # The host's counter moves in ticks: in a short interval it may stand still while the group's moves.
    return (1, 1) if busy_ns <= cpu_ns else (cpu_ns, busy_ns)


def _sum_uj(parts_pj: Iterable[tuple[int, int]]) -> Fraction:
    # Adding fractions is slow, and those of one denominator need not be added as such: without a meter they are whole.
    by_denominator: dict[int, int] = {}
    for numerator, denominator in parts_pj:
        by_denominator[denominator] = by_denominator.get(denominator, 0) + numerator
    sums = [Fraction(numerator, whole * PJ_PER_UJ) for whole, numerator in by_denominator.items()]
    while len(sums) > 1:
        # By pairs, so that large ones meet large ones: one after the other, 4,096 of them take four times as long.
        sums = [*map(add, sums[::2], sums[1::2]), *sums[len(sums) // 2 * 2 :]]
    return sums[0]


def interval_energy_uj(power: PowerEvidence, before: PowerSample, after: PowerSample) -> Fraction | None:
    """Return the energy attributed between two samples, None where a counter could not be read at one of them."""
    if not (is_readable(power, before) and is_readable(power, after)):
        return None
    gpu_uj = _delta(_energy_uj(before, power.gpu_domains), _energy_uj(after, power.gpu_domains))
    return _sum_uj([_cpu_pj(power, bool(power.cpu_domains), before, after)]) + gpu_uj


def attribute_energy(power: PowerEvidence, phase: Phase) -> AttributedEnergy | None:
    """Return the energy that is attributed to a phase of the execution, None where `describe_gap` says why not.

    Per interval between two samples, with what is metered: ``share * max(0, E - P_idle * dt) + reserved CPUs / all CPUs
    * min(E, P_idle * dt)``, where ``share`` is the execution's part of the host's busy CPU time; all of ``E`` where the
    host was exclusively its own. Without a meter for the CPUs: ``cpu_time * (busy - idle) + reserved_cpus * idle * dt``
    by the table's row. A GPU's energy is added whole. The energies of load, prefill and decode add up.
    """
    if describe_gap(power, phase) is not None:
        return None
    samples, cpu_domains, gpu_domains = _between(power, phase), power.cpu_domains, power.gpu_domains
    first, last = samples[0], samples[-1]
    is_metered = bool(cpu_domains)
    share = (1, 1)
    if is_metered and not power.exclusive:
        share = _share(_delta(first.cpu_time_ns, last.cpu_time_ns), _delta(first.busy_ns, last.busy_ns))
    metered = _delta(_energy_uj(first, cpu_domains), _energy_uj(last, cpu_domains))
    return AttributedEnergy(
        duration_ns=last.at_ns - first.at_ns,
        cpu_uj=_sum_uj(_cpu_pj(power, is_metered, *pair) for pair in pairwise(samples)),
        gpu_uj=Fraction(_delta(_energy_uj(first, gpu_domains), _energy_uj(last, gpu_domains))),
        host_uj=Fraction(metered) if is_metered else None,
        share=Fraction(*share),
    )


def _squares(power: PowerEvidence, energy: AttributedEnergy) -> Iterator[int]:
    yield SENSOR_PPM**2
    yield min(PPM, 2 * PPM * power.update_ns // max(1, energy.duration_ns)) ** 2
    yield int(ATTRIBUTION_PPM * (1 - energy.share)) ** 2
    reserved = Fraction(power.reserved_cpus, power.host_cpus)
    spread_uj = Fraction(power.baseline.spread_mw * energy.duration_ns, PJ_PER_UJ) * reserved
    yield min(PPM, int(PPM * spread_uj / max(Fraction(1), energy.cpu_uj))) ** 2


def uncertainty_ppm(power: PowerEvidence, energy: AttributedEnergy) -> int:
    """Return the combined uncertainty of a metered energy, in millionths of it: four parts in quadrature.

    The sensor's 5 %, twice the counter's update time over the duration, half of what belongs to other loads, and the
    spread of the idle baseline.
    """
    return isqrt(sum(_squares(power, energy)))
