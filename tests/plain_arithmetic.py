"""The metrics as they are defined, in exact fractions and step by step: what the faster arithmetic is held against."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise

from contracts.execution.attribution import attribute_energy as attributed
from contracts.execution.attribution import uncertainty_ppm
from contracts.execution.metrics import Measurements
from contracts.execution.power_evidence import Phase, PowerEvidence, PowerSample

EDGES = {"load": ("start", "job"), "prefill": ("job", "prefill"), "decode": ("prefill", "end"), "job": ("job", "end")}
SPLIT: Mapping[str, Phase] = {"energy_load_j": "load", "energy_prefill_j": "prefill", "energy_decode_j": "decode"}


def moved(before: int | None, after: int | None) -> int:
    return max(0, (after or 0) - (before or 0))


def counted(sample: PowerSample, domains: tuple[str, ...]) -> int:
    return sum(sample.energy_uj[name] or 0 for name in domains)


def share(before: PowerSample, after: PowerSample) -> Fraction:
    cpu_ns, busy_ns = moved(before.cpu_time_ns, after.cpu_time_ns), moved(before.busy_ns, after.busy_ns)
    if cpu_ns == 0:
        return Fraction(0)
    return Fraction(1) if busy_ns <= cpu_ns else Fraction(cpu_ns, busy_ns)


def cpu_uj(power: PowerEvidence, before: PowerSample, after: PowerSample) -> Fraction:
    duration_ns = after.at_ns - before.at_ns
    cpu_ns = moved(before.cpu_time_ns, after.cpu_time_ns)
    if not power.cpu_domains:
        model = power.model
        reserved_pj = Fraction(power.reserved_cpus * model.idle_mw * duration_ns)
        return (cpu_ns * max(0, model.busy_mw - model.idle_mw) + reserved_pj) / 10**6
    energy = Fraction(moved(counted(before, power.cpu_domains), counted(after, power.cpu_domains)))
    if power.exclusive:
        return energy
    idle_uj = Fraction(power.baseline.idle_mw * duration_ns, 10**6)
    part = Fraction(power.reserved_cpus, power.host_cpus)
    return share(before, after) * max(Fraction(0), energy - idle_uj) + part * min(energy, idle_uj)


def readable_samples(power: PowerEvidence, phase: Phase) -> list[PowerSample]:
    """The samples of a phase, without those in which something is missing; none where an edge is missing."""

    def is_readable(sample: PowerSample) -> bool:
        needs_busy = bool(power.cpu_domains) and not power.exclusive
        missing = sample.cpu_time_ns is None or (needs_busy and sample.busy_ns is None)
        return not missing and all(sample.energy_uj.get(name) is not None for name in power.domains)

    marks = [sample.mark for sample in power.samples]
    first, last = EDGES[phase]
    if first not in marks or last not in marks:
        return []
    inside = power.samples[marks.index(first) : marks.index(last) + 1]
    return [each for each in inside if is_readable(each)] if is_readable(inside[0]) and is_readable(inside[-1]) else []


def energies_uj(power: PowerEvidence, phase: Phase) -> tuple[Fraction, Fraction] | None:
    """Energy of processor and memory, and of the device."""
    samples = readable_samples(power, phase)
    if not samples:
        return None
    of_cpus = sum((cpu_uj(power, *pair) for pair in pairwise(samples)), Fraction(0))
    device = moved(counted(samples[0], power.gpu_domains), counted(samples[-1], power.gpu_domains))
    return of_cpus, Fraction(device)


def rounded(value: Fraction, digits: int = 3) -> float:
    return float(round(value, digits))


def power_values(power: PowerEvidence, tokens_per_sec: float | None) -> dict[str, float | None]:
    names = ("watts_avg", "watts_low", "watts_high", "tokens_per_watt")
    found, samples, whole = energies_uj(power, "job"), readable_samples(power, "job"), attributed(power, "job")
    if found is None or whole is None or samples[-1].at_ns == samples[0].at_ns:
        return dict.fromkeys(names)
    of_cpus, device = found
    seconds = Fraction(samples[-1].at_ns - samples[0].at_ns, 10**9)
    low = high = Fraction(0)
    if power.domains:
        off = min(Fraction(1), Fraction(uncertainty_ppm(power, whole), 10**6))
        metered = of_cpus + device if power.cpu_domains else device
        low, high = metered * (1 - off), metered * (1 + off)
    if not power.cpu_domains:
        low += of_cpus * power.model.low_percent / 100
        high += of_cpus * power.model.high_percent / 100
    watts = rounded((of_cpus + device) / 10**6 / seconds)
    per_watt = None
    if tokens_per_sec is not None and watts > 0:
        per_watt = rounded(Fraction(tokens_per_sec) / Fraction(watts), 4)
    return dict(
        zip(names, (watts, rounded(low / 10**6 / seconds), rounded(high / 10**6 / seconds), per_watt), strict=True)
    )


def speed_values(raw: Measurements) -> dict[str, float | None]:
    times, before = raw.token_times_ns, raw.prompt_done_ns or 0
    values: dict[str, float | None] = {
        "tokens_per_sec": None,
        "latency_p95_ms": None,
        "time_to_first_token_ms": None,
        "prefill_tokens_per_sec": None,
        "decode_tokens_per_sec": None,
    }
    if raw.tokens_prompt and raw.prompt_done_ns:
        values["prefill_tokens_per_sec"] = rounded(Fraction(raw.tokens_prompt * 10**9, raw.prompt_done_ns))
    if not times or not times[-1]:
        return values
    intervals = [max(0, later - earlier) for earlier, later in pairwise((before, *times))]
    # The smallest that 95 % of all do not exceed.
    p95 = min(each for each in intervals if 100 * sum(other <= each for other in intervals) >= 95 * len(intervals))
    values["tokens_per_sec"] = rounded(Fraction(len(times) * 10**9, times[-1]))
    values["time_to_first_token_ms"] = rounded(Fraction(times[0], 10**6))
    values["latency_p95_ms"] = rounded(Fraction(p95, 10**6))
    if times[-1] > times[0]:
        values["decode_tokens_per_sec"] = rounded(Fraction((len(times) - 1) * 10**9, times[-1] - times[0]))
    return values


def derived_values(raw: Measurements, power: PowerEvidence) -> dict[str, float | None]:
    """Every number of the metrics that is computed, by its name."""
    values = speed_values(raw)
    for name, phase in SPLIT.items():
        found, samples = energies_uj(power, phase), readable_samples(power, phase)
        is_long = found is not None and samples[-1].at_ns - samples[0].at_ns >= 2 * power.update_ns
        values[name] = rounded(sum(found, Fraction(0)) / 10**6) if found is not None and is_long else None
    return values | power_values(power, values["tokens_per_sec"])
