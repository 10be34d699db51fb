"""How far the model of `policies/power.toml` is from published measurements: `python -m benchmarks.power.model_error`.

The curves are watts of whole servers at 0 to 100 % load in steps of 10 %, as SPECpower_ssj2008 publishes them, by the
result's name. Two errors are told apart. Shape: the model is a line from idle to full, the machines are not.
Level: the table's row against the machine, where a row speaks of its processor.
"""

import sys
from dataclasses import dataclass

from contracts.wire.units import MW_PER_W
from supervisor.adapters.policies import load_policies
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.power.energy import select_power_model

__all__ = ["main"]

STEPS = 10


@dataclass(frozen=True, slots=True)
class Curve:
    """One published result."""

    result: str
    watts: tuple[float, ...]
    """Power at 0, 10, … 100 % load."""
    processor: str | None = None
    """Name of the processor, if the table has a row for it."""
    logical_cpus: int = 0
    """Of all nodes together."""


CURVES = (
    Curve("20100315-00239", (66, 107, 120, 131, 143, 156, 173, 191, 211, 229, 247)),
    Curve("20110124-00339", (93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135)),
    Curve("20110406-00368", (58.4, 98, 109, 118, 128, 140, 153, 170, 189, 205, 222)),
    Curve("20130304-00599", (37.2, 39.9, 43.2, 45.5, 48.8, 52.8, 57.8, 65.1, 73.8, 80.8, 85.2)),
    Curve("20141023-00677", (110, 149, 167, 188, 218, 237, 268, 307, 358, 414, 446)),
    # Four nodes of two processors of 18 cores.
    Curve(
        "20150707-00697",
        (210, 371, 449, 522, 589, 647, 705, 802, 924, 1071, 1229),
        processor="Intel(R) Xeon(R) CPU E5-2699 v3 @ 2.30GHz",
        logical_cpus=288,
    ),
    Curve("20160607-00734", (86.3, 178, 218, 257, 289, 315, 340, 382, 433, 498, 557)),
)


def shape_errors(watts: tuple[float, ...]) -> list[float]:
    """Return the error of a straight line from idle to full load, at each load, relative to the measured power."""
    idle, full = watts[0], watts[STEPS]
    return [(idle + (full - idle) * step / STEPS) / watts[step] - 1 for step in range(STEPS + 1)]


def main() -> None:
    """Print a line for each curve."""
    power = load_policies(SOURCE_ROOT / "policies").power
    out = sys.stdout.write
    out(f"{'result':<16}{'shape, worst':>14}{'level, idle':>14}{'level, full':>14}{'within bounds':>16}\n")
    for curve in CURVES:
        worst = max(shape_errors(curve.watts), key=abs)
        line = f"{curve.result:<16}{worst:>+14.0%}"
        if curve.processor is not None:
            model = select_power_model(curve.processor, power)
            idle, full = (each * curve.logical_cpus / MW_PER_W for each in (model.idle_mw, model.busy_mw))
            low, high = full * model.low_percent / 100, full * model.high_percent / 100
            within = "yes" if low <= curve.watts[STEPS] <= high else "no"
            line += f"{idle / curve.watts[0] - 1:>+14.0%}{full / curve.watts[STEPS] - 1:>+14.0%}{within:>16}"
        out(f"{line}\n")


if __name__ == "__main__":
    main()
