"""Simulates how well a power limit is enforced: a table, a JSON file with every figure, and a plot.

Usage: ``python -m benchmarks.power [--seeds N] [--output DIRECTORY] [--no-plot]``, or ``make bench-power``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from statistics import mean, median

from benchmarks.power.plant import Trace
from benchmarks.power.scenarios import LAWS, PRIORS, SCENARIOS, STEPS_PER_S, trace_of
from supervisor.adapters.policies import load_policies
from supervisor.domain.policies.policy import GovernorPolicy

__all__ = ["measure", "summarize"]

SEEDS = 40
MEAN_S = 60
# Settled: the mean of one second stays within this part of the target, for this long.
SETTLED_PART = 0.05
SETTLED_S = 2
P95 = 95


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one run; power is the plant's own, not the sensor's reading."""

    worst_over_percent: float
    """Highest mean of any one second, relative to the limit."""
    settling_s: float | None
    """Time from when the execution could use its whole quota until it settled; None means never."""
    mean_mw: float
    """Mean over 60 s from the same moment."""
    tokens: float
    writes: int
    exceeded: bool
    """Whether the law would have stopped the execution."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a law in a scenario with a prior, over all seeds."""

    scenario: str
    law: str
    prior: str
    cap_mw: int
    worst_over_percent: float
    median_over_percent: float
    settling_median_s: float | None
    settling_p95_s: float | None
    unsettled: int
    """Runs that never settled."""
    mean_mw: float
    tokens: float
    writes: float
    exceeded: int


def _rolling_means(power_mw: Sequence[float]) -> list[float]:
    sums = list(accumulate(power_mw, initial=0.0))
    return [(sums[end] - sums[end - STEPS_PER_S]) / STEPS_PER_S for end in range(STEPS_PER_S, len(sums))]


def measure(trace: Trace, cap_mw: int, target_mw: float) -> Figures:
    """Return the figures of a run."""
    means = _rolling_means(trace.power_mw)
    run, settled_at = 0, None
    for end in range(max(trace.busy_from, STEPS_PER_S), len(trace.power_mw) + 1):
        run = run + 1 if abs(means[end - STEPS_PER_S] / target_mw - 1) <= SETTLED_PART else 0
        if run == SETTLED_S * STEPS_PER_S:
            settled_at = end - run - trace.busy_from
            break
    counted = trace.power_mw[trace.busy_from : trace.busy_from + MEAN_S * STEPS_PER_S]
    return Figures(
        worst_over_percent=(max(means) / cap_mw - 1) * 100,
        settling_s=None if settled_at is None else max(0, settled_at) / STEPS_PER_S,
        mean_mw=mean(counted),
        tokens=sum(trace.tokens),
        writes=trace.writes,
        exceeded=any(decision.verdict == "exceeded" for decision in trace.decisions),
    )


def summarize(policy: GovernorPolicy, name: str, law: str, prior: str, seeds: int) -> Summary:
    """Run a law in a scenario once per seed."""
    scenario = SCENARIOS[name]
    target_mw = scenario.cap_mw * policy.target_percent / 100
    runs = [measure(trace_of(policy, scenario, law, prior, seed), scenario.cap_mw, target_mw) for seed in range(seeds)]
    # A run that never settles ranks after all others.
    settling = sorted(run.settling_s for run in runs if run.settling_s is not None)
    ranked: list[float | None] = [*settling, *[None] * (seeds - len(settling))]
    return Summary(
        scenario=name,
        law=law,
        prior=prior,
        cap_mw=scenario.cap_mw,
        worst_over_percent=max(run.worst_over_percent for run in runs),
        median_over_percent=median(run.worst_over_percent for run in runs),
        settling_median_s=ranked[(seeds - 1) // 2],
        settling_p95_s=ranked[-(-seeds * P95 // 100) - 1],
        unsettled=seeds - len(settling),
        mean_mw=mean(run.mean_mw for run in runs),
        tokens=mean(run.tokens for run in runs),
        writes=mean(run.writes for run in runs),
        exceeded=sum(run.exceeded for run in runs),
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _row(entry: Summary) -> str:
    return (
        f"{entry.scenario:<38}{entry.law:<10}{entry.prior:<12}{entry.worst_over_percent:>+8.1f} %"
        f"{entry.median_over_percent:>+8.1f} %{_seconds(entry.settling_median_s):>9}{_seconds(entry.settling_p95_s):>9}"
        f"{entry.mean_mw / 1000:>8.2f} of {entry.cap_mw / 1000:.0f} W{entry.writes:>6.0f}{entry.exceeded:>5}"
    )


HEADER = (
    f"{'scenario':<38}{'law':<10}{'prior':<12}{'worst 1 s':>10}{'median':>10}{'settled':>9}{'p95':>9}"
    f"{'mean of 60 s':>16}{'writes':>8}{'stop':>5}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every law in every scenario with every prior."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--output", type=Path, default=Path("build/bench-power"))
    parser.add_argument("--no-plot", action="store_true")
    options = parser.parse_args(arguments)
    policy = load_policies(Path(__file__).resolve().parents[2] / "policies").power.governor
    options.output.mkdir(parents=True, exist_ok=True)
    _say(f"{options.seeds} seeds; the plant's own power against the limit\n{HEADER}")
    summaries = []
    for name in SCENARIOS:
        for prior in PRIORS:
            for law in LAWS:
                summaries.append(summarize(policy, name, law, prior, options.seeds))
                _say(_row(summaries[-1]))
    results = {
        "seeds": options.seeds,
        "policy": policy.model_dump(),
        "scenarios": {name: asdict(scenario) for name, scenario in SCENARIOS.items()},
        "summaries": [asdict(entry) for entry in summaries],
    }
    file = options.output / "power.json"
    file.write_text(json.dumps(results, indent=2) + "\n")
    _say(f"written: {file}")
    if not options.no_plot:
        # Imported here, so that the figures need no plotting library.
        from benchmarks.power.plot import draw_runs  # noqa: PLC0415

        _say(f"written: {draw_runs(policy, options.output / 'power.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
