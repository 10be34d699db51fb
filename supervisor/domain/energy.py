"""Which row of the table speaks for this machine, and how many threads a power limit allows."""

from math import floor

from contracts.power import PowerModel
from supervisor.domain.errors import Refusal
from supervisor.domain.installation import PowerFacts
from supervisor.domain.policy import PowerPolicy

__all__ = ["select_power_model", "threads_within"]

MW_PER_W = 1000


def select_power_model(processor: str, policy: PowerPolicy) -> PowerModel:
    """Return the first row that speaks of the processor; the policy's last row fits all (checked at start)."""
    return next(family for family in policy.family if family.matches(processor)).as_model()


def threads_within(max_watts: float | None, wanted: int, power: PowerFacts, policy: PowerPolicy) -> int:
    """Return how many threads keep the execution under its limit, at most ``wanted``.

    By the model a thread draws at most ``busy_cpu_mw``, so fewer threads than limit / busy power can never exceed the
    limit: it holds by construction, with the policy's margin. By a sensor it is where the governor begins.

    Raises:
        Refusal: ``power_limit_unenforceable`` where not even one thread fits; the detail names the lowest limit.
    """
    if max_watts is None:
        return wanted
    if power.fault is not None:
        raise _unenforceable(f"no power limit can be kept here: {power.fault}")
    usable_mw = max_watts * MW_PER_W * policy.cap_margin_percent / 100
    threads = floor(usable_mw / power.busy_cpu_mw)
    if threads < 1:
        # Rounded up to a centiwatt, so that the number named is itself accepted.
        lowest = (power.busy_cpu_mw * 100 // policy.cap_margin_percent) // 10 + 1
        raise _unenforceable(
            f"{max_watts:g} W is less than one busy CPU of this machine is taken to draw (basis: {power.basis}); "
            f"the lowest limit that can be kept is {lowest / 100:.2f} W"
        )
    return min(wanted, threads)


def _unenforceable(detail: str) -> Refusal:
    return Refusal("power_limit_unenforceable", detail, field="/execution/limits/max_watts")
