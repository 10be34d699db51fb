"""Results of the benchmarks: rows with targets, as JSON and as a Markdown table. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.measuring.pairing import Pair, Spread, ratios, spread_of

__all__ = [
    "Outcome",
    "Row",
    "Target",
    "document_of",
    "is_reached",
    "show_table",
]

# From here on decimals mean nothing.
WHOLE_FROM = 100


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that a figure is compared with."""

    bound: float
    kind: Literal["at most", "at least"]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a quantity of ours, of a peer's where there is one, and the target."""

    name: str
    what: str
    """The comparison in words."""
    unit: str
    """Of the values, or of both sides of the pairs."""
    target: Target | None
    pairs: tuple[Pair, ...] = ()
    values: tuple[float, ...] = ()
    """Where there is no peer."""
    load_average: float | None = None
    """Load of the machine in the minute before the row; None means that the row was computed, not measured."""
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def figures(self) -> tuple[float, ...]:
        """The figures that are compared with the target: the ratios, or the values themselves."""
        return ratios(self.pairs) if self.pairs else self.values

    @property
    def spread(self) -> Spread | None:
        """Spread of the figures; None means that there are none, and the notes say why."""
        return spread_of(self.figures) if self.figures else None


def is_reached(row: Row) -> bool | None:
    """Return whether the median reaches the target; None means no target or no measurement."""
    if row.target is None or row.spread is None:
        return None
    if row.target.kind == "at most":
        return row.spread.median <= row.target.bound
    return row.spread.median >= row.target.bound


def _number(value: float) -> str:
    if abs(value) >= WHOLE_FROM:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def _reached(row: Row) -> str:
    spread = row.spread
    if spread is None:
        return "not measured"
    unit = f" {row.target.unit}" if row.target and row.target.unit else "" if row.pairs else f" {row.unit}"
    text = f"{_number(spread.median)}{unit}"
    if spread.count > 1:
        text += f" ({_number(spread.quartile_low)} to {_number(spread.quartile_high)})"
    return {True: f"**{text}**", False: text, None: text}[is_reached(row)]


def _sides(row: Row) -> str:
    if not row.pairs:
        return ""
    ours, peer = (spread_of([getattr(pair, side) for pair in row.pairs]).median for side in ("ours", "peer"))
    return f"{_number(ours)} / {_number(peer)} {row.unit}"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    unit = f" {row.target.unit}" if row.target.unit else ""
    return f"{row.target.kind} {row.target.bound:,g}{unit}"


def show_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table: medians, with quartiles in brackets; bold where the target is reached."""
    lines = [
        "| what | target | reached | ours / peer | pairs | load |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        load = "" if row.load_average is None else f"{row.load_average:.1f}"
        cells = (row.what, _target(row), _reached(row), _sides(row), str(len(row.figures)), load)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def document_of(rows: Sequence[Row], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything, raw figures included, as a JSON document."""
    return {
        "machine": dict(machine),
        "rows": [
            {
                **asdict(row),
                "ratios": list(ratios(row.pairs)),
                "spread": None if row.spread is None else asdict(row.spread),
                "reached": is_reached(row),
            }
            for row in rows
        ],
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a simulation."""

    cores: int
    job: str
    executions_per_s: float
    p50_s: float
    p99_s: float
    warm_part: float
    """Executions that found a sandbox started ahead."""
    utilization: dict[str, float]
    """Busy part of the time: `cores`, `supervisor`, `ledger`, `container engine`."""
    bottleneck: str
