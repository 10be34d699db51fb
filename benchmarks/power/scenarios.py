"""The scenarios of the power simulation, and the trace of one run of each under one law."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.power.laws import IntegralLaw
from benchmarks.power.plant import STEP_NS, Law, Phase, PlantSettings, Trace, simulate
from contracts.wire.units import NANO_CPUS_PER_CPU, NS_PER_MS, NS_PER_S
from supervisor.domain.policies.policy import GovernorPolicy
from supervisor.domain.power.governor import Governor

__all__ = [
    "LAWS",
    "PRIORS",
    "SCENARIOS",
    "STEPS_PER_S",
    "Scenario",
    "trace_of",
]


STEPS_PER_S = NS_PER_S // STEP_NS
# Power of a CPU as the laws are told, relative to the plant's with all threads running.
PRIORS = {"right": 1.0, "optimistic": 0.6, "pessimistic": 1.6}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A machine, what runs on it, and the limit."""

    settings: PlantSettings
    phases: tuple[Phase, ...]
    cap_mw: int


STEADY = (Phase("steady", 61, 1, 1, 1),)
# Prompt processing draws more; the last step stands for unforeseen changes.
JOB = (
    Phase("load", 2, 1 / 8, 0.8, 0),
    Phase("prefill", 8, 1, 1.25, 20),
    Phase("decode", 22, 0.9, 1, 4),
    Phase("hotter decode", 6, 1, 1.2, 4),
    Phase("decode", 25, 0.9, 1, 4),
)
_PLANT = PlantSettings()
SCENARIOS = {
    "steady": Scenario(_PLANT, STEADY, 25_000),
    "job": Scenario(_PLANT, JOB, 25_000),
    "job, 2 threads": Scenario(replace(_PLANT, threads=2, idle_mw=1_000), JOB, 7_000),
    "job, 32 threads": Scenario(replace(_PLANT, threads=32, idle_mw=12_000), JOB, 100_000),
    "job, counter moves every 20 ms": Scenario(replace(_PLANT, update_ms=20), JOB, 25_000),
    "job, counter moves every 100 ms": Scenario(replace(_PLANT, update_ms=100), JOB, 25_000),
    "job, CPU time handed out every 100 ms": Scenario(replace(_PLANT, period_ms=100), JOB, 25_000),
    "job, meter is the model": Scenario(replace(_PLANT, is_model=True), JOB, 25_000),
}


def _governor(policy: GovernorPolicy, scenario: Scenario, prior: float) -> Law:
    settings = scenario.settings
    return Governor(
        policy,
        cap_mw=scenario.cap_mw,
        idle_mw=settings.idle_mw,
        quota_max_nano=settings.threads * NANO_CPUS_PER_CPU,
        high_mw_per_cpu=int(settings.mw_per_cpu * prior),
        update_ns=settings.update_ms * NS_PER_MS,
    )


def _integral(_policy: GovernorPolicy, scenario: Scenario, prior: float) -> Law:
    settings = scenario.settings
    return IntegralLaw(
        cap_mw=scenario.cap_mw,
        idle_mw=settings.idle_mw,
        quota_max_nano=settings.threads * NANO_CPUS_PER_CPU,
        high_mw_per_cpu=int(settings.mw_per_cpu * prior),
    )


LAWS: dict[str, Callable[[GovernorPolicy, Scenario, float], Law]] = {"governor": _governor, "page": _integral}


def trace_of(policy: GovernorPolicy, scenario: Scenario, law: str, prior: str, seed: int) -> Trace:
    """Run once."""
    return simulate(LAWS[law](policy, scenario, PRIORS[prior]), scenario.settings, scenario.phases, seed)
