"""The metrics of one execution and the arithmetic that makes them from raw integers.

Supervisor and auditor call the same functions: whoever holds the raw integers of a record can recompute every number.
"""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, Many
from contracts.runner_protocol import FinishReason
from contracts.types import Count, Nanoseconds

__all__ = ["Measurements", "Metrics", "PowerEvidence", "PowerModel", "attribute_energy_uj", "derive_metrics"]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
# 1 mW * 1 ns = 1e-12 J = 1e-6 uJ
MW_NS_PER_UJ = 1_000_000
UJ_PER_J = 1_000_000


class Measurements(Contract):
    """Raw observations, made by the supervisor outside the sandbox on its monotonic clock.

    Times are nanoseconds since the first byte of the job was written to the sandbox.
    """

    tokens_prompt: Count | None
    """Prompt tokens as the runner reported them; null: the prompt was never computed."""
    prompt_done_ns: Nanoseconds | None
    """Arrival of the event that prefill is over; null: it never came."""
    token_times_ns: Many[Nanoseconds]
    """Arrival of each generated token, in order."""
    finish_reason: FinishReason | None
    """Why generation ended; null: it did not end by itself."""


class PowerModel(Contract):
    """The row of `policies/power.toml` that was used: electric power of one logical CPU."""

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


class PowerEvidence(Contract):
    """What the watts were computed from."""

    source: Literal["model"]
    """`model`: CPU time and a declared table; nothing electrical was measured."""
    attribution: Literal["model/1"]
    """Version of the formula, see `attribute_energy_uj`."""
    model: PowerModel
    """The table's row."""
    reserved_cpus: Annotated[int, Field(ge=1, le=4096)]
    """Logical CPUs leased to the execution."""
    cpu_time_ns: Nanoseconds | None
    """CPU time of the sandbox in the window, from its cgroup; null: it could not be read at both edges."""
    window_ns: Nanoseconds | None
    """From the first job byte in to the last token out; null: no token came out."""


class Metrics(Contract):
    """The numbers of section 6 of the integration specification, and some beside them.

    Rates and milliseconds are rounded to 3 decimals, `tokens_per_watt` to 4. Null means not measured; the reason is in
    `unmeasured` under the same name.
    """

    tokens_total: Count
    """Generated tokens; the one that ends an answer is not counted."""
    tokens_per_sec: float | None
    """`tokens_total` over the window from the first job byte in to the last token out, in 1/s."""
    latency_p95_ms: float | None
    """Nearest-rank 95th percentile of the time per generated token, in ms; the first counts from the end of prefill."""
    watts_avg: float | None
    """Energy attributed to the execution in the window, over the window, in W. See `watts_source`."""
    tokens_per_watt: float | None
    """`tokens_per_sec / watts_avg`, that is tokens per joule."""
    watts_source: Literal["model"]
    """`model`: estimated from CPU time and a declared table. Such a number is never comparable with a measured one."""
    watts_low: float | None
    """Lower bound of `watts_avg`, in W."""
    watts_high: float | None
    """Upper bound of `watts_avg`, in W."""
    tokens_prompt: Count | None
    """Tokens of the prompt."""
    time_to_first_token_ms: float | None
    """From the first job byte in to the first token out, in ms."""
    prefill_tokens_per_sec: float | None
    """Prompt tokens over the time to the end of prefill, in 1/s."""
    decode_tokens_per_sec: float | None
    """Tokens after the first over the time from the first to the last, in 1/s."""
    finish_reason: FinishReason | None
    """Why generation ended."""
    unmeasured: dict[str, str]
    """For each null above, why."""


def _rounded(value: Fraction, digits: int = 3) -> float:
    # Rounding the exact fraction, not a float, gives the same digits on every machine.
    return float(round(value, digits))


def attribute_energy_uj(power: PowerEvidence) -> int | None:
    """Return the energy attributed to the execution, in microjoules, or None where an input is missing.

    ``cpu_time * (busy - idle) + reserved_cpus * idle * window``: the linear utilisation model, with the execution
    carrying the idle power of the CPUs that it keeps from others. Rounded down. The counter is read just outside the
    window, so its value is bounded by what the reserved CPUs can spend inside it.
    """
    if power.cpu_time_ns is None or power.window_ns is None:
        return None
    cpu_time_ns = min(power.cpu_time_ns, power.reserved_cpus * power.window_ns)
    dynamic = cpu_time_ns * max(0, power.model.busy_mw - power.model.idle_mw)
    reserved = power.reserved_cpus * power.model.idle_mw * power.window_ns
    return (dynamic + reserved) // MW_NS_PER_UJ


def _percentile_95(intervals: list[int]) -> int:
    # Nearest rank: the smallest value that at least 95 % of the values do not exceed.
    rank = -(-95 * len(intervals) // 100)
    return sorted(intervals)[rank - 1]


def _watts(power: PowerEvidence) -> Fraction | None:
    energy_uj = attribute_energy_uj(power)
    if energy_uj is None or not power.window_ns:
        return None
    return Fraction(energy_uj, UJ_PER_J) / Fraction(power.window_ns, NS_PER_S)


def _power_values(power: PowerEvidence, tokens_per_sec: float | None) -> dict[str, float | None]:
    watts = _watts(power)
    if watts is None:
        return dict.fromkeys(("watts_avg", "watts_low", "watts_high", "tokens_per_watt"))
    watts_avg = _rounded(watts)
    per_watt = None
    if tokens_per_sec is not None and watts_avg > 0:
        per_watt = _rounded(Fraction(tokens_per_sec) / Fraction(watts_avg), 4)
    return {
        "watts_avg": watts_avg,
        "watts_low": _rounded(watts * power.model.low_percent / 100),
        "watts_high": _rounded(watts * power.model.high_percent / 100),
        "tokens_per_watt": per_watt,
    }


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
        values["prefill_tokens_per_sec"] = _rounded(Fraction(raw.tokens_prompt * NS_PER_S, raw.prompt_done_ns))
    if not times or not times[-1]:
        return values
    values["tokens_per_sec"] = _rounded(Fraction(len(times) * NS_PER_S, times[-1]))
    values["time_to_first_token_ms"] = _rounded(Fraction(times[0], NS_PER_MS))
    edges = (raw.prompt_done_ns or 0, *times)
    intervals = [max(0, later - earlier) for earlier, later in zip(edges, times, strict=False)]
    values["latency_p95_ms"] = _rounded(Fraction(_percentile_95(intervals), NS_PER_MS))
    if times[-1] > times[0]:
        values["decode_tokens_per_sec"] = _rounded(Fraction((len(times) - 1) * NS_PER_S, times[-1] - times[0]))
    return values


def _reason(name: str, raw: Measurements, power: PowerEvidence) -> str:
    if name in {"tokens_prompt", "prefill_tokens_per_sec"}:
        return "the prompt was not computed"
    if name == "finish_reason":
        return "generation did not end by itself"
    if not raw.token_times_ns:
        return "no token was generated"
    if name == "decode_tokens_per_sec":
        return "it takes two tokens at different times"
    if power.cpu_time_ns is None:
        return "the CPU time of the sandbox could not be read at both edges of the window"
    if name == "tokens_per_watt" and power.window_ns:
        return "the attributed power rounds to zero"
    return "the window is too short to divide by"


def derive_metrics(raw: Measurements, power: PowerEvidence) -> Metrics:
    """Compute the metrics from raw integers; pure, exact and the same for supervisor and auditor.

    `tokens_per_watt` is computed from the published `tokens_per_sec` and `watts_avg`, so that their quotient holds
    for whoever has only those.
    """
    values: dict[str, float | int | str | None] = {
        "tokens_prompt": raw.tokens_prompt,
        "finish_reason": raw.finish_reason,
        **_speed_values(raw),
    }
    tokens_per_sec = values["tokens_per_sec"]
    values |= _power_values(power, tokens_per_sec if isinstance(tokens_per_sec, float) else None)
    unmeasured = {name: _reason(name, raw, power) for name, value in values.items() if value is None}
    return Metrics.model_validate(
        {
            **values,
            "tokens_total": len(raw.token_times_ns),
            "watts_source": power.source,
            "unmeasured": unmeasured,
        }
    )
