"""Watts without a sensor: which row of the table speaks for this machine, and what a power limit allows."""

from math import floor

from contracts.power import PowerModel
from supervisor.domain.errors import Refusal
from supervisor.domain.policy import PowerPolicy

__all__ = ["select_power_model", "threads_within"]

MW_PER_W = 1000


def select_power_model(processor: str, policy: PowerPolicy) -> PowerModel:
    """Return the first row that speaks of the processor; the policy's last row fits all (checked at start)."""
    return next(family for family in policy.family if family.matches(processor)).as_model()


def threads_within(max_watts: float | None, wanted: int, model: PowerModel, policy: PowerPolicy) -> int:
    """Return how many threads keep the execution under its limit, at most ``wanted``.

    In the model's terms a thread draws at most ``busy_mw``, so fewer threads than limit / busy power can never
    exceed the limit: the limit holds by construction, with the policy's margin.

    Raises:
        Refusal: ``power_limit_unenforceable`` where not even one thread fits; the detail names the lowest limit.
    """
    if max_watts is None:
        return wanted
    usable_mw = max_watts * MW_PER_W * policy.cap_margin_percent / 100
    threads = floor(usable_mw / model.busy_mw)
    if threads < 1:
        # Rounded up to a centiwatt, so that the number named is itself accepted.
        lowest = (model.busy_mw * 100 // policy.cap_margin_percent) // 10 + 1
        detail = (
            f"{max_watts:g} W is less than one busy CPU of this machine is taken to draw (basis: model, row "
            f"'{model.family}'); the lowest limit that can be kept is {lowest / 100:.2f} W"
        )
        raise Refusal("power_limit_unenforceable", detail, field="/execution/limits/max_watts")
    return min(wanted, threads)
