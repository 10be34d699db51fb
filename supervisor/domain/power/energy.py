"""The choice of the power model, and the division of a power limit into threads and a GPU's limit."""

from math import floor

from contracts.execution.power_evidence import PowerModel
from contracts.wire.units import MW_PER_W
from supervisor.domain.errors import Refusal
from supervisor.domain.policies.policy import PowerPolicy
from supervisor.domain.power.facts import GpuLimits, PowerFacts

__all__ = ["gpu_limit_within", "select_power_model", "threads_within"]


def select_power_model(processor: str, policy: PowerPolicy) -> PowerModel:
    """Return the first row that matches the processor; the policy's last row matches all (checked at startup)."""
    return next(family for family in policy.family if family.matches(processor)).as_model()


def threads_within(
    max_watts: float | None, wanted: int, power: PowerFacts, policy: PowerPolicy, *, cpus_per_core: int
) -> int:
    """Return how many threads, each on a physical core of its own, keep the execution under its limit.

    In the model, a core with one thread draws at most the power of one busy logical CPU plus that of its idle ones. The
    number of threads is the limit divided by that power, so the limit holds by construction, with the policy's margin.
    With a sensor, the result is only the governor's starting point. On a GPU, the lowest limit of the device is
    subtracted first.

    Args:
        max_watts: the limit.
        wanted: maximum number of threads.
        power: power of a logical CPU.
        policy: the margin.
        cpus_per_core: logical CPUs that a leased core keeps from others.

    Raises:
        Refusal: ``power_limit_unenforceable`` if not even one thread fits; the detail names the lowest possible limit.
    """
    if max_watts is None:
        return wanted
    if power.fault is not None:
        raise _unenforceable(f"no power limit can be enforced on this machine: {power.fault}")
    gpu_mw = 0 if power.gpu is None else power.gpu.minimum_mw
    core_mw = power.busy_cpu_mw + (cpus_per_core - 1) * power.idle_cpu_mw
    threads = floor((_usable_mw(max_watts, policy) - gpu_mw) / core_mw)
    if threads < 1:
        # Rounded up to a centiwatt, so that a request with the named limit is accepted.
        lowest = ((core_mw + gpu_mw) * 100 // policy.cap_margin_percent) // 10 + 1
        with_gpu = "" if power.gpu is None else f" plus a GPU that accepts no limit below {gpu_mw / MW_PER_W:g} W"
        raise _unenforceable(
            f"{max_watts:g} W is less than the assumed power of one busy core of this machine (basis: {power.basis})"
            f"{with_gpu}; the lowest limit that can be enforced is {lowest / 100:.2f} W"
        )
    return min(wanted, threads)


def gpu_limit_within(max_watts: float, threads: int, *, busy_cpu_mw: int, gpu: GpuLimits, policy: PowerPolicy) -> int:
    """Return the power limit of a GPU in milliwatts: the execution's limit minus the power of its busy threads.

    Args:
        max_watts: the limit of the whole execution.
        threads: result of `threads_within`.
        busy_cpu_mw: assumed power of each thread.
        gpu: the limits that the device accepts.
        policy: `power.toml`.
    """
    left_mw = _usable_mw(max_watts, policy) - threads * busy_cpu_mw
    return max(gpu.minimum_mw, floor(min(left_mw, gpu.maximum_mw)))


def _usable_mw(max_watts: float, policy: PowerPolicy) -> float:
    return max_watts * MW_PER_W * policy.cap_margin_percent / 100


def _unenforceable(detail: str) -> Refusal:
    return Refusal("power_limit_unenforceable", detail, field="/execution/limits/max_watts")
