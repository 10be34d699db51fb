"""The metrics of one execution, and the arithmetic that derives them from raw integers.

The supervisor and an auditor call the same functions: from the raw integers in a record, anyone can recompute every
number.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from operator import sub
from typing import get_args

from contracts.execution.attribution import AttributedEnergy, attribute_energy, describe_gap, uncertainty_ppm
from contracts.execution.power_evidence import Phase, PowerEvidence, PowerSource
from contracts.execution.runner_protocol import FinishReason
from contracts.wire.document import Contract, Many
from contracts.wire.types import Count, Nanoseconds
from contracts.wire.units import NS_PER_MS, NS_PER_S, PPM, UJ_PER_J

__all__ = ["Measurements", "Metrics", "derive_metrics"]

# The energy of a phase is published only if the phase lasts at least this many updates of the counter.
UPDATES_PER_PHASE = 2
_PHASE_OF: dict[str, Phase] = {
    "energy_load_j": "load",
    "energy_prefill_j": "prefill",
    "energy_decode_j": "decode",
}
_Energies = Mapping[Phase, AttributedEnergy | None]
# In a shorter run the counters are read only at its edges.
SHORT_RUN_NS = NS_PER_S


class Measurements(Contract):
    """Raw measurements, made by the supervisor outside the sandbox with its monotonic clock.

    Times are in nanoseconds since the first byte of the job was written to the sandbox.
    """

    tokens_prompt: Count | None
    """Number of prompt tokens, as the runner reported it; null: the prompt was not completely computed."""
    prompt_done_ns: Nanoseconds | None
    """Time at which the runner reported the end of prefill, in ns; null: it never did."""
    token_times_ns: Many[Nanoseconds]
    """Time at which each generated token arrived, in ns, in order."""
    finish_reason: FinishReason | None
    """`length`: `max_tokens` was reached. `eos`: the model ended its answer. `stop`: a stop text occurred. null:
    generation did not end by itself."""


class Metrics(Contract):
    """The metrics of section 6 of the integration specification, and some more.

    Rates and milliseconds are rounded to 3 decimals, `tokens_per_watt` to 4. `null` means "not measured"; `unmeasured`
    gives the reason under the same name.
    """

    tokens_total: Count
    """Number of generated tokens, without the token that ends an answer."""
    tokens_per_sec: float | None
    """Generated tokens per second: `tokens_total` over the window from the first byte of the job to the last token."""
    latency_p95_ms: float | None
    """95th percentile (nearest rank) of the time per generated token, in ms. The time of the first token counts from
    the end of prefill."""
    watts_avg: float | None
    """Average power attributed to the execution over the window from the job to the end, in W: energy over time.
    `watts_source` says whether it is measured."""
    tokens_per_watt: float | None
    """`tokens_per_sec / watts_avg`, which is tokens per joule."""
    watts_source: PowerSource
    """The meter. `rapl` and `nvml` measure. `model` estimates power from CPU time and a declared table; never compare
    an estimated number with a measured one."""
    watts_low: float | None
    """Lower bound of `watts_avg`, in W."""
    watts_high: float | None
    """Upper bound of `watts_avg`, in W."""
    energy_load_j: float | None
    """Energy attributed from the start of the container to the job, while the model was loaded, in J. It is null in a
    warm start, where the model was loaded before the execution began."""
    energy_prefill_j: float | None
    """Energy attributed while the prompt was computed, in J."""
    energy_decode_j: float | None
    """Energy attributed while tokens were generated, in J."""
    short_run: bool
    """Whether the job took less than a second; the uncertainty of its energy is then large."""
    tokens_prompt: Count | None
    """Number of tokens in the prompt."""
    time_to_first_token_ms: float | None
    """Time from the first byte of the job to the first token, in ms."""
    prefill_tokens_per_sec: float | None
    """Prompt tokens per second, over the time from the first byte of the job to the end of prefill."""
    decode_tokens_per_sec: float | None
    """Tokens per second after the first token, over the time from the first token to the last."""
    finish_reason: FinishReason | None
    """`length`: `max_tokens` was reached. `eos`: the model ended its answer. `stop`: a stop text occurred."""
    unmeasured: dict[str, str]
    """The reason for each null above, by field name."""


def _rounded(numerator: int, denominator: int, digits: int = 3) -> float:
    # Rounding the exact ratio (half to even), not a float, gives the same digits on every machine.
    unit: int = 10**digits
    whole, rest = divmod(numerator * unit, denominator)
    beyond_half = 2 * abs(rest) - abs(denominator)
    if beyond_half > 0 or (beyond_half == 0 and whole % 2 == 1):
        whole += 1
    return whole / unit


def _percentile_95(values: Iterable[int]) -> int:
    # Nearest rank: the smallest value that at least 95 % of the values do not exceed.
    ordered = sorted(values)
    rank = -(-95 * len(ordered) // 100)
    return ordered[rank - 1]


def _watts(energy_uj: Fraction, duration_ns: int) -> float:
    return _rounded(energy_uj.numerator * NS_PER_S, energy_uj.denominator * UJ_PER_J * duration_ns)


def _part(energy_uj: Fraction, part: int, whole: int) -> Fraction:
    return Fraction(energy_uj.numerator * part, energy_uj.denominator * whole)


def _bounds(power: PowerEvidence, energy: AttributedEnergy) -> tuple[Fraction, Fraction]:
    """Return the lower and upper bound of the true energy, in microjoules."""
    model = power.model
    by_table = _part(energy.cpu_uj, model.low_percent, 100), _part(energy.cpu_uj, model.high_percent, 100)
    if not power.domains:
        return by_table
    off_ppm = min(PPM, uncertainty_ppm(power, energy))
    if power.cpu_domains:
        return _part(energy.total_uj, PPM - off_ppm, PPM), _part(energy.total_uj, PPM + off_ppm, PPM)
    low, high = by_table
    return _part(energy.gpu_uj, PPM - off_ppm, PPM) + low, _part(energy.gpu_uj, PPM + off_ppm, PPM) + high


def _power_values(
    power: PowerEvidence, energy: AttributedEnergy | None, tokens_per_sec: float | None
) -> dict[str, float | None]:
    names = ("watts_avg", "watts_low", "watts_high", "tokens_per_watt")
    if energy is None or energy.duration_ns == 0:
        return dict.fromkeys(names)
    watts_avg = _watts(energy.total_uj, energy.duration_ns)
    low, high = (_watts(bound, energy.duration_ns) for bound in _bounds(power, energy))
    per_watt = None
    if tokens_per_sec is not None and watts_avg > 0:
        (tokens, seconds), (joules, joule_seconds) = tokens_per_sec.as_integer_ratio(), watts_avg.as_integer_ratio()
        per_watt = _rounded(tokens * joule_seconds, seconds * joules, 4)
    return dict(zip(names, (watts_avg, low, high, per_watt), strict=True))


def _split_reason(power: PowerEvidence, phase: Phase, energy: AttributedEnergy | None) -> str | None:
    if energy is None:
        return describe_gap(power, phase)
    if energy.duration_ns < UPDATES_PER_PHASE * power.update_ns:
        return f"it is shorter than {UPDATES_PER_PHASE} updates of the counter"
    return None


def _split_values(power: PowerEvidence, energies: _Energies) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for name, phase in _PHASE_OF.items():
        energy = energies[phase]
        if energy is None or _split_reason(power, phase, energy):
            values[name] = None
        else:
            values[name] = _rounded(energy.total_uj.numerator, energy.total_uj.denominator * UJ_PER_J)
    return values


def _speed_values(raw: Measurements) -> dict[str, float | None]:
    times = raw.token_times_ns
    values: dict[str, float | None] = dict.fromkeys(
        (
            "tokens_per_sec",
            "latency_p95_ms",
            "time_to_first_token_ms",
            "prefill_tokens_per_sec",
            "decode_tokens_per_sec",
        )
    )
    if raw.tokens_prompt and raw.prompt_done_ns:
        values["prefill_tokens_per_sec"] = _rounded(raw.tokens_prompt * NS_PER_S, raw.prompt_done_ns)
    if not times or not times[-1]:
        return values
    values["tokens_per_sec"] = _rounded(len(times) * NS_PER_S, times[-1])
    values["time_to_first_token_ms"] = _rounded(times[0], NS_PER_MS)
    intervals_ns = map(sub, times, (raw.prompt_done_ns or 0, *times))
    values["latency_p95_ms"] = _rounded(max(0, _percentile_95(intervals_ns)), NS_PER_MS)
    if times[-1] > times[0]:
        values["decode_tokens_per_sec"] = _rounded((len(times) - 1) * NS_PER_S, times[-1] - times[0])
    return values


def _reason(name: str, raw: Measurements, power: PowerEvidence, energies: _Energies) -> str:
    if name in {"tokens_prompt", "prefill_tokens_per_sec"}:
        return "the prompt was not computed"
    if name == "finish_reason":
        return "generation did not end by itself"
    if name in _PHASE_OF:
        phase = _PHASE_OF[name]
        return _split_reason(power, phase, energies[phase]) or "it could not be told"
    if not raw.token_times_ns:
        return "no token was generated"
    if name == "decode_tokens_per_sec":
        return "it takes two tokens at different times"
    if name in {"watts_avg", "watts_low", "watts_high", "tokens_per_watt"}:
        gap = describe_gap(power, "job")
        if gap is not None:
            return gap
        energy = energies["job"]
        if name == "tokens_per_watt" and energy is not None and energy.duration_ns:
            return "the attributed power rounds to zero"
    return "the window is too short to divide by"


def derive_metrics(raw: Measurements, power: PowerEvidence) -> Metrics:
    """Compute the metrics from raw integers; pure, exact and the same for supervisor and auditor.

    `tokens_per_watt` is the quotient of the published, rounded `tokens_per_sec` and `watts_avg`, so that a reader who
    has only these two can check it.
    """
    energies = {phase: attribute_energy(power, phase) for phase in get_args(Phase)}
    values: dict[str, float | int | str | None] = {
        "tokens_prompt": raw.tokens_prompt,
        "finish_reason": raw.finish_reason,
        **_speed_values(raw),
        **_split_values(power, energies),
    }
    tokens_per_sec = values["tokens_per_sec"]
    values |= _power_values(power, energies["job"], tokens_per_sec if isinstance(tokens_per_sec, float) else None)
    unmeasured = {name: _reason(name, raw, power, energies) for name, value in values.items() if value is None}
    return Metrics.model_validate(
        {
            **values,
            "tokens_total": len(raw.token_times_ns),
            "watts_source": power.source,
            "short_run": not raw.token_times_ns or raw.token_times_ns[-1] < SHORT_RUN_NS,
            "unmeasured": unmeasured,
        }
    )
