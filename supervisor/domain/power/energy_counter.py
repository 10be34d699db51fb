"""The energy between two readings of a counter that wraps around, or the reason why it is unknown. Pure."""

from dataclasses import dataclass

from contracts.wire.units import NJ_PER_UJ, NS_PER_S, UJ_PER_J

__all__ = ["CounterReading", "counted_uj"]

# No processor package and no memory attached to it draws as much: the largest are designed for about 500 W.
MOST_W = 1000
# A counter moves in steps of a millisecond or more, and its reader may be delayed between the clock and the counter.
CLOCK_SLACK_NS = NS_PER_S
# Range of a 32-bit register in the smallest unit in use: 15.3 uJ, for the memory of Intel's servers.
LEAST_RANGE_UJ = 65_712_999_613


@dataclass(frozen=True, slots=True)
class CounterReading:
    """A counter at one moment."""

    energy_uj: int
    at_ns: int
    """Monotonic time."""


def counted_uj(before: CounterReading, after: CounterReading, range_uj: int | None) -> int | str:
    """Return the microjoules between two readings, or a sentence that says why they are unknown.

    At most one wrap-around is corrected, and only if the time between the readings is too short for a second one. A
    step larger than any possible power means that the counter was reset.

    Args:
        before: the earlier reading.
        after: the later reading.
        range_uj: the value at which the counter wraps around (`max_energy_range_uj`); None means unknown.
    """
    elapsed_ns = after.at_ns - before.at_ns
    possible_uj = MOST_W * (elapsed_ns + CLOCK_SLACK_NS) // NJ_PER_UJ
    step_uj = after.energy_uj - before.energy_uj
    if range_uj is None:
        if step_uj < 0:
            return "the counter went back, and without max_energy_range_uj a wrap-around cannot be corrected"
        range_uj = LEAST_RANGE_UJ
    elif max(before.energy_uj, after.energy_uj) > range_uj:
        return "the counter exceeds its own max_energy_range_uj"
    if step_uj < 0:
        # The register wraps around one unit (at most 61 uJ) after its range, which is negligible in 65 kJ.
        step_uj += range_uj
    if step_uj + range_uj <= possible_uj:
        return f"the counter was not read for {elapsed_ns // NS_PER_S} s and may have wrapped around unnoticed"
    if step_uj > possible_uj:
        step_j, elapsed_s = step_uj // UJ_PER_J, elapsed_ns / NS_PER_S
        return f"the counter moved by {step_j} J in {elapsed_s:.1f} s, so it was reset or is wrong"
    return step_uj
