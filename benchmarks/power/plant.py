"""A simulated machine for the governor: an execution under a CPU quota, with a late and noisy energy counter.

It has what a real one has and a formula has not: the kernel's pool of CPU time, which is filled once per period and at
every write; threads that spend it at once and then stand still; watts per CPU that depend on how many run, on what they
compute, and on the temperature. Its constants are nobody's machine.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from contracts.wire.units import MW_NS_PER_UJ, NANO_CPUS_PER_CPU, NS_PER_MS, NS_PER_S, NS_PER_US
from supervisor.domain.power.governor import Decision

__all__ = ["STEP_NS", "Law", "Phase", "Plant", "PlantSettings", "Sensor", "Trace", "simulate"]

STEP_NS = 10 * NS_PER_MS
# Maximum delay of the supervisor's wake-up.
JITTER_NS = 20 * NS_PER_MS


class Law(Protocol):
    """Sets the quota."""

    @property
    def interval_ns(self) -> int:
        """Time between two observations."""
        ...

    @property
    def quota_nano(self) -> int:
        """The current setting."""
        ...

    def observe(self, at_ns: int, *, energy_uj: int | None, cpu_time_ns: int | None) -> Decision:
        """Decide on a reading of the counters."""
        ...


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the execution."""

    name: str
    duration_s: float
    demand: float
    """CPUs that the execution would use, relative to its threads."""
    price: float
    """Watts per CPU, relative to the plant's."""
    tokens_per_cpu_s: float


@dataclass(frozen=True, slots=True)
class PlantSettings:
    """The machine."""

    threads: int = 8
    idle_mw: int = 3_000
    mw_per_cpu: int = 4_500
    """Power of a busy CPU beyond its idle share, all threads running, cold."""
    alone_part: float = 0.3
    """Part by which a CPU draws more if it runs alone (it clocks higher)."""
    heat_part: float = 0.04
    """Part by which a hot CPU draws more."""
    heat_s: float = 15.0
    noise: float = 0.02
    """Standard deviation of one reading's energy."""
    update_ms: int = 1
    """Interval between updates of the energy counter."""
    period_ms: int = 20
    """Interval at which the kernel refills the pool."""
    is_model: bool = False
    """Whether the meter is the model: no sensor, energy computed from CPU time by a table."""


@dataclass(slots=True)
class Trace:
    """The course of a run, one entry per `STEP_NS`."""

    power_mw: list[float] = field(default_factory=list)
    quota_cpus: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    """One per observation."""
    writes: int = 1
    """Number of settings of the quota, the first included."""
    busy_from: int = 0
    """First entry in which the execution could have used more than its quota."""


class Plant:
    """The execution, and the kernel's pool of CPU time for it."""

    def __init__(self, settings: PlantSettings, quota_nano: int) -> None:
        self._settings = settings
        self._period_ns = settings.period_ms * NS_PER_MS
        self._heat = 0.0
        self.at_ns = 0
        self.cpu_time_ns = 0.0
        self.energy_uj = 0.0
        self.write(quota_nano)

    def write(self, quota_nano: int) -> None:
        """Set the quota, in whole microseconds per period; like the kernel, this refills the pool."""
        self._filling_ns = quota_nano * self._period_ns // NANO_CPUS_PER_CPU // NS_PER_US * NS_PER_US
        self._pool_ns: float = self._filling_ns

    def step(self, phase: Phase) -> tuple[float, float]:
        """Advance by `STEP_NS`; return the power in milliwatts and the CPUs used."""
        settings = self._settings
        if self.at_ns % self._period_ns == 0:
            self._pool_ns = self._filling_ns
        used_ns = min(phase.demand * settings.threads * STEP_NS, self._pool_ns)
        self._pool_ns -= used_ns
        cpus = used_ns / STEP_NS
        busy_part = cpus / settings.threads
        price = phase.price * (1 + settings.alone_part * (1 - busy_part)) * (1 + self._heat)
        power_mw = settings.idle_mw + cpus * settings.mw_per_cpu * (1.0 if settings.is_model else price)
        self._heat += (settings.heat_part * busy_part - self._heat) * -math.expm1(-STEP_NS / NS_PER_S / settings.heat_s)
        self.at_ns += STEP_NS
        self.cpu_time_ns += used_ns
        self.energy_uj += power_mw * STEP_NS / MW_NS_PER_UJ
        return power_mw, cpus


class Sensor:
    """The energy counter as read: up to one update interval late, and with noise in each reading."""

    def __init__(self, settings: PlantSettings, chance: random.Random) -> None:
        self._noise = 0.0 if settings.is_model else settings.noise
        self._update_ns = settings.update_ms * NS_PER_MS
        self._chance = chance
        self._latched_uj = self._seen_uj = self._shown_uj = 0.0

    def latch(self, plant: Plant) -> None:
        """Update the counter if its interval has passed."""
        if plant.at_ns % self._update_ns < STEP_NS:
            self._latched_uj = plant.energy_uj

    def read(self) -> int:
        """Return the counter, with the noise of this reading's interval."""
        self._shown_uj += (self._latched_uj - self._seen_uj) * (1 + self._chance.gauss(0, self._noise))
        self._seen_uj = self._latched_uj
        return int(self._shown_uj)


def simulate(law: Law, settings: PlantSettings, phases: Sequence[Phase], seed: int) -> Trace:
    """Run the phases under a law and return the trace.

    A phase but the first begins anywhere between two observations.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation must be repeatable
    plant, sensor, trace = Plant(settings, law.quota_nano), Sensor(settings, chance), Trace()
    next_ns = ends_ns = 0
    for number, phase in enumerate(phases):
        ends_ns += int(phase.duration_s * NS_PER_S)
        if number < len(phases) - 1:
            ends_ns += chance.randrange(0, law.interval_ns, STEP_NS)
        if phase.demand >= 1 and trace.busy_from == 0:
            trace.busy_from = plant.at_ns // STEP_NS
        while plant.at_ns < ends_ns:
            if plant.at_ns >= next_ns:
                _observe(law, plant, sensor, trace)
                next_ns = plant.at_ns + law.interval_ns + chance.randrange(0, JITTER_NS)
            power_mw, cpus = plant.step(phase)
            sensor.latch(plant)
            trace.power_mw.append(power_mw)
            trace.quota_cpus.append(law.quota_nano / NANO_CPUS_PER_CPU)
            trace.tokens.append(cpus * phase.tokens_per_cpu_s * STEP_NS / NS_PER_S)
    return trace


def _observe(law: Law, plant: Plant, sensor: Sensor, trace: Trace) -> None:
    before = law.quota_nano
    decision = law.observe(plant.at_ns, energy_uj=sensor.read(), cpu_time_ns=int(plant.cpu_time_ns))
    trace.decisions.append(decision)
    if decision.quota_nano != before:
        plant.write(decision.quota_nano)
        trace.writes += 1
