"""What an energy counter that wraps around has counted between two readings, or why that cannot be told. Pure."""

from dataclasses import dataclass

from contracts.wire.units import NJ_PER_UJ, NS_PER_S, UJ_PER_J

__all__ = ["CounterReading", "counted_uj"]

# No processor package and no memory behind one draws as much: the largest are designed for some 500 W.
MOST_W = 1000
# A counter moves by steps of a millisecond or more, and its reader may be held up between the clock and the counter.
CLOCK_SLACK_NS = NS_PER_S
# Of a 32-bit register in the smallest unit in use, the 15.3 uJ of the memory of Intel's servers.
LEAST_RANGE_UJ = 65_712_999_613


@dataclass(frozen=True, slots=True)
class CounterReading:
    """A counter at one moment."""

    energy_uj: int
    at_ns: int
    """On the monotonic clock."""


def counted_uj(before: CounterReading, after: CounterReading, range_uj: int | None) -> int | str:
    """Return the microjoules between two readings, or in words why they cannot be told.

    At most one wrap is undone, and only where there cannot have been another: the time between the readings is too
    short for a whole range more. A step that nothing can draw is that of a counter which began anew.

    Args:
        before: the earlier reading.
        after: the later one.
        range_uj: where the counter wraps (`max_energy_range_uj`); None: not known.
    """
    elapsed_ns = after.at_ns - before.at_ns
    possible_uj = MOST_W * (elapsed_ns + CLOCK_SLACK_NS) // NJ_PER_UJ
    step_uj = after.energy_uj - before.energy_uj
    if range_uj is None:
        if step_uj < 0:
            return "it went back, and without max_energy_range_uj a wrap cannot be undone"
        range_uj = LEAST_RANGE_UJ
    elif max(before.energy_uj, after.energy_uj) > range_uj:
        return "it is beyond its own max_energy_range_uj"
    if step_uj < 0:
        # The register wraps one unit (61 uJ at most) after its range, which nobody sees in 65 kJ.
        step_uj += range_uj
    if step_uj + range_uj <= possible_uj:
        return f"it was not read for {elapsed_ns // NS_PER_S} s, in which it may have wrapped unseen"
    if step_uj > possible_uj:
        return f"it moved by {step_uj // UJ_PER_J} J in {elapsed_ns / NS_PER_S:.1f} s, so it began anew or is wrong"
    return step_uj
