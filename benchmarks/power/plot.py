"""The plot of the power benchmark: watts, quota and tokens over time, one column for each prior."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.power.plant import Trace
from benchmarks.power.scenarios import PRIORS, SCENARIOS, STEPS_PER_S, trace_of
from contracts.wire.units import MW_PER_W
from supervisor.domain.policies.policy import GovernorPolicy

__all__ = ["draw_runs"]

SCENARIO = "job"
SEED = 0
COLOURS = {"page": "0.65", "governor": "tab:blue"}


def _means(values: Sequence[float]) -> list[float]:
    # Mean of the second that ends there, as the limit is defined; of a shorter time in the first second.
    sums = list(accumulate(values, initial=0.0))
    starts = [max(0, end - STEPS_PER_S) for end in range(1, len(sums))]
    return [(sums[end] - sums[start]) / (end - start) for end, start in enumerate(starts, 1)]


def _draw(column: Sequence[Any], trace: Trace, law: str) -> None:
    times_s = [step / STEPS_PER_S for step in range(len(trace.power_mw))]
    watts, quota, tokens = column
    style = {"color": COLOURS[law], "linewidth": 1.2}
    watts.plot(times_s, [value / MW_PER_W for value in _means(trace.power_mw)], label=f"{law}, mean of 1 s", **style)
    quota.plot(times_s, trace.quota_cpus, label=law, drawstyle="steps-post", **style)
    tokens.plot(times_s, [value * STEPS_PER_S for value in _means(trace.tokens)], label=law, **style)


def draw_runs(policy: GovernorPolicy, file: Path) -> Path:
    """Write a PNG with one run of each law with each prior, and return its path."""
    scenario = SCENARIOS[SCENARIO]
    figure = Figure(figsize=(15, 9), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(3, len(PRIORS), sharex=True, sharey="row")
    for number, prior in enumerate(PRIORS):
        column = [row[number] for row in axes]
        for law in COLOURS:
            _draw(column, trace_of(policy, scenario, law, prior, SEED), law)
        cap_w = scenario.cap_mw / MW_PER_W
        column[0].axhline(cap_w, color="tab:red", linewidth=1, label="limit")
        column[0].axhline(
            cap_w * (100 + policy.tolerance_percent) / 100,
            color="tab:red",
            linewidth=1,
            linestyle=":",
            label="limit and tolerance",
        )
        column[0].set_title(f"prior: {prior} ({PRIORS[prior]:g} of the plant's watts per CPU)")
        column[2].set_xlabel("seconds: load, prefill, decode, hotter decode, decode")
    for row, label in zip(axes, ("watts", "quota, CPUs", "tokens per second"), strict=True):
        row[0].set_ylabel(label)
        row[0].set_ylim(bottom=0)
        row[-1].legend(loc="upper right", fontsize="small")
    figure.suptitle("max_watts on a simulated plant")
    figure.savefig(file, dpi=100)
    return file
