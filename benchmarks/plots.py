"""Plots of ratios and their targets, of the load test, and of the simulation of larger machines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.measuring.results import Outcome, Row, is_reached

__all__ = ["draw_clients", "draw_ratios", "draw_scale"]

COLOURS = {True: "tab:green", False: "tab:red", None: "0.5"}
DPI = 100


def _figure(columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def draw_ratios(rows: Sequence[Row], file: Path) -> Path:
    """Write a PNG with each pair's ratio, the median and the target, one line for each row."""
    drawn = [row for row in rows if row.pairs]
    figure, (axes,) = _figure(1, 11, 1 + 0.6 * max(1, len(drawn)))
    for place, row in enumerate(reversed(drawn)):
        colour = COLOURS[is_reached(row)]
        axes.plot(row.figures, [place] * len(row.figures), "|", color=colour, markersize=12, alpha=0.6)
        if row.spread is not None:
            axes.plot([row.spread.quartile_low, row.spread.quartile_high], [place, place], color=colour, linewidth=3)
            axes.plot(row.spread.median, place, "o", color=colour)
        if row.target is not None:
            axes.plot(row.target.bound, place, "<" if row.target.kind == "at most" else ">", color="black")
    axes.set_yticks(range(len(drawn)), [row.name for row in reversed(drawn)])
    axes.set_xscale("log")
    axes.axvline(1, color="0.8", linewidth=1)
    axes.set_xlabel(
        "ours / peer: each pair, quartiles, median; a triangle is the target and points to where it is kept"
    )
    figure.savefig(file, dpi=DPI)
    return file


def draw_clients(rows: Sequence[Row], file: Path) -> Path:
    """Write a PNG with the distribution of execution times, one curve for each number of clients."""
    figure, (axes,) = _figure(1, 9, 5)
    for row in rows:
        seconds = sorted(row.details.get("seconds", ()))
        if seconds:
            parts = [(number + 1) / len(seconds) * 100 for number in range(len(seconds))]
            clients, rate = row.details["clients"], row.details["executions_per_s"]
            axes.plot(seconds, parts, drawstyle="steps-post", label=f"{clients} clients: {rate:.2f} executions/s")
    axes.set_xlabel("seconds from the accepted request to its answer")
    axes.set_ylabel("percent of executions")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=DPI)
    return file


def draw_scale(outcomes: Sequence[Outcome], file: Path) -> Path:
    """Write a PNG with the utilization over the number of cores, one column for each job."""
    jobs = list(dict.fromkeys(each.job for each in outcomes))
    figure, columns = _figure(len(jobs), 5 * len(jobs), 4.5)
    for axes, job in zip(columns, jobs, strict=True):
        of_job = [each for each in outcomes if each.job == job]
        places = range(len(of_job))
        for name in of_job[0].utilization:
            axes.plot(places, [each.utilization[name] * 100 for each in of_job], marker="o", label=name)
        labels = [f"{each.cores} cores\n{each.executions_per_s:.1f}/s" for each in of_job]
        axes.set_xticks(places, labels)
        axes.set_ylim(0, 105)
        axes.set_title(job)
        axes.grid(alpha=0.3)
    columns[0].set_ylabel("percent busy")
    columns[-1].legend(fontsize="small")
    figure.suptitle("Simulated: what limits one supervisor")
    figure.savefig(file, dpi=DPI)
    return file
