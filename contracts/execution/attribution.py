"""Which part of the metered energy belongs to one execution: pure, exact, equal for engine and auditor.

Units: mW * ns = pJ. Energies are whole microjoules, times are nanoseconds of the engine's monotonic clock.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from operator import add

from contracts.execution.power_evidence import Phase, PowerEvidence, PowerSample, SampleMark
from contracts.wire.units import PJ_PER_UJ, PPM

__all__ = [
    "AttributedEnergy",
    "attribute_energy",
    "describe_gap",
    "interval_energy_uj",
    "is_readable",
    "uncertainty_ppm",
]


# The error of a sensor, and the error of attribution by CPU time where another load shares the machine.
SENSOR_PPM = 50_000
ATTRIBUTION_PPM = 500_000


@dataclass(frozen=True, slots=True)
class AttributedEnergy:
    """The energy of one phase of an execution."""

    duration_ns: int
    cpu_uj: Fraction
    """Attributed energy of processor and memory."""
    gpu_uj: Fraction
    """Energy of the GPU."""
    host_uj: Fraction | None
    """Metered energy of all CPU domains; None: nothing is metered. The difference to `cpu_uj` is the residual: other
    loads, and the idle machine."""
    share: Fraction
    """Share of the execution in the host's busy CPU time; 1 if the share is not needed."""

    @property
    def total_uj(self) -> Fraction:
        """Attributed energy of processor, memory and GPU."""
        return self.cpu_uj + self.gpu_uj


_EDGES: dict[Phase, tuple[SampleMark, SampleMark]] = {
    "load": ("start", "job"),
    "prefill": ("job", "prefill"),
    "decode": ("prefill", "end"),
    "job": ("job", "end"),
}


def is_readable(power: PowerEvidence, sample: PowerSample) -> bool:
    """Return whether a sample has every counter that the attribution needs."""
    if sample.cpu_time_ns is None or (power.cpu_domains and not power.exclusive and sample.busy_ns is None):
        return False
    return all(sample.energy_uj.get(name) is not None for name in power.domains)


def describe_gap(power: PowerEvidence, phase: Phase) -> str | None:
    """Return why the energy of a phase is unknown, or None if it is known."""
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
    # A gap between the edges does no harm: the counters go on counting.
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
    # The host's counter moves in ticks: in a short interval it may stand still while the control group's moves.
    return (1, 1) if busy_ns <= cpu_ns else (cpu_ns, busy_ns)


def _sum_uj(parts_pj: Iterable[tuple[int, int]]) -> Fraction:
    # Adding fractions is slow; those with equal denominators are added as integers. Without a meter all of them are.
    by_denominator: dict[int, int] = {}
    for numerator, denominator in parts_pj:
        by_denominator[denominator] = by_denominator.get(denominator, 0) + numerator
    sums = [Fraction(numerator, whole * PJ_PER_UJ) for whole, numerator in by_denominator.items()]
    while len(sums) > 1:
        # Add in pairs, so that large fractions meet large ones: 4,096 added one by one take four times as long.
        sums = [*map(add, sums[::2], sums[1::2]), *sums[len(sums) // 2 * 2 :]]
    return sums[0]


def interval_energy_uj(power: PowerEvidence, before: PowerSample, after: PowerSample) -> Fraction | None:
    """Return the energy attributed between two samples, or None if a counter could not be read at one of them."""
    if not (is_readable(power, before) and is_readable(power, after)):
        return None
    gpu_uj = _delta(_energy_uj(before, power.gpu_domains), _energy_uj(after, power.gpu_domains))
    return _sum_uj([_cpu_pj(power, bool(power.cpu_domains), before, after)]) + gpu_uj


def attribute_energy(power: PowerEvidence, phase: Phase) -> AttributedEnergy | None:
    """Return the energy attributed to a phase of the execution, or None if `describe_gap` gives a reason.

    Each interval between two samples is attributed by itself. With metered CPUs its energy is ``share * max(0, E -
    P_idle * dt) + reserved CPUs / all CPUs * min(E, P_idle * dt)``, where ``share`` is the execution's share of the
    host's busy CPU time. If the host belonged to the execution exclusively, it is all of ``E``. Without metered CPUs it
    is ``cpu_time * (busy - idle) + reserved_cpus * idle * dt``, with the numbers of the table's row. The energy of a
    GPU is added whole. The energies of load, prefill and decode add up.
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
    """Return the combined uncertainty of a metered energy, in millionths of that energy.

    Four uncertainties are added in quadrature: 5 % for the sensor, twice the counter's update time over the duration,
    half of the other loads' share, and the spread of the idle baseline.
    """
    return isqrt(sum(_squares(power, energy)))
