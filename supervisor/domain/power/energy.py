"""Which row of the table speaks for this machine, and how a power limit is divided: threads, and a GPU's limit."""

from math import floor

from contracts.execution.power_evidence import PowerModel
from contracts.wire.units import MW_PER_W
from supervisor.domain.errors import Refusal
from supervisor.domain.policies.policy import PowerPolicy
from supervisor.domain.power.facts import GpuLimits, PowerFacts

__all__ = ["gpu_limit_within", "select_power_model", "threads_within"]


def select_power_model(processor: str, policy: PowerPolicy) -> PowerModel:
    """Return the first row that speaks of the processor; the policy's last row fits all (checked at start)."""
    return next(family for family in policy.family if family.matches(processor)).as_model()


def threads_within(
    max_watts: float | None, wanted: int, power: PowerFacts, policy: PowerPolicy, *, cpus_per_core: int
) -> int:
    """Return how many threads, each on a physical core of its own, keep the execution under its limit.

    By the model a core with one thread draws at most what one of its logical CPUs draws when busy and the others draw
    when idle, so fewer threads than limit / that power can never exceed the limit: it holds by construction, with the
    policy's margin. By a sensor it is where the governor begins. Where a GPU is executed on, what it takes at least is
    set aside first.

    Args:
        max_watts: the limit.
        wanted: threads at most.
        power: what a logical CPU draws.
        policy: the margin.
        cpus_per_core: logical CPUs that a leased core keeps from others.

    Raises:
        Refusal: ``power_limit_unenforceable`` where not even one thread fits; the detail names the lowest limit.
    """
    if max_watts is None:
        return wanted
    if power.fault is not None:
        raise _unenforceable(f"no power limit can be kept here: {power.fault}")
    gpu_mw = 0 if power.gpu is None else power.gpu.minimum_mw
    core_mw = power.busy_cpu_mw + (cpus_per_core - 1) * power.idle_cpu_mw
    threads = floor((_usable_mw(max_watts, policy) - gpu_mw) / core_mw)
    if threads < 1:
        # Rounded up to a centiwatt, so that the number named is itself accepted.
        lowest = ((core_mw + gpu_mw) * 100 // policy.cap_margin_percent) // 10 + 1
        beside = "" if power.gpu is None else f" beside a GPU that takes no limit below {gpu_mw / MW_PER_W:g} W"
        raise _unenforceable(
            f"{max_watts:g} W is less than one busy core of this machine is taken to draw (basis: {power.basis})"
            f"{beside}; the lowest limit that can be kept is {lowest / 100:.2f} W"
        )
    return min(wanted, threads)


def gpu_limit_within(max_watts: float, threads: int, *, busy_cpu_mw: int, gpu: GpuLimits, policy: PowerPolicy) -> int:
    """Return the power limit of a GPU in milliwatts: what a limit leaves it beside its busy threads.

    Args:
        max_watts: the limit of the whole execution.
        threads: as `threads_within` gave them.
        busy_cpu_mw: what each of them is taken to draw.
        gpu: what the device takes.
        policy: `power.toml`.
    """
    left_mw = _usable_mw(max_watts, policy) - threads * busy_cpu_mw
    return max(gpu.minimum_mw, floor(min(left_mw, gpu.maximum_mw)))


def _usable_mw(max_watts: float, policy: PowerPolicy) -> float:
    return max_watts * MW_PER_W * policy.cap_margin_percent / 100


def _unenforceable(detail: str) -> Refusal:
    return Refusal("power_limit_unenforceable", detail, field="/execution/limits/max_watts")
