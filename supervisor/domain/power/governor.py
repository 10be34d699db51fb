"""Enforces a power limit: decides an execution's next CPU time and whether to stop the execution. No clock, no I/O.

The governor learns the price of a CPU from the time used: ``g = (W - W_idle) / min(used, quota)`` in milliwatts per
CPU. The next quota is what the limit buys at that price: ``quota = (target * cap - W_idle - payback * excess) / g``.
The error is not integrated, so nothing winds up while the execution waits and uses less than its quota.

Two simpler prices would be wrong. Divided by the quota alone, a waiting execution looks cheap: it would be given more
and more, and exceed the limit when it continues. Divided by the time used alone, an exceeded quota goes unnoticed: the
kernel refills the group's CPU time at every write of a quota. Two busy processes whose quota was written every 0.25 s
used 1.24 to 1.29 times their quota with the kernel's period of 100 ms, 1.06 to 1.10 times with 20 ms, and 1.00 times
without writes (measured, Linux 6.18). The smaller of the two times is right in both cases.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from contracts.execution.power_evidence import MAX_SAMPLES, PowerAction, PowerLimitEvidence
from contracts.wire.units import NANO_CPUS_PER_CPU, NS_PER_MS, UW_PER_MW
from supervisor.domain.policies.policy import GovernorPolicy

__all__ = ["Decision", "Governor", "RollingMean"]

PERCENT = 100
WINDOW_NS = 1_000_000_000
# The largest power that a record can hold. A sensor that reports more is broken, and above every limit in any case.
MAX_MW = 10**9

Verdict = Literal["keep", "exceeded", "sensor_lost"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The quota to set now, and whether to stop the execution."""

    quota_nano: int
    """CPU time per second for the control group, in nanoseconds. Write it only if it has changed."""
    verdict: Verdict
    """`keep`: continue. `exceeded`: stop, because the power exceeded the limit for longer than the grace period.
    `sensor_lost`: stop, because the counters could not be read for too long."""


class RollingMean:
    """The mean power over the last second, from an energy counter that is read at irregular times."""

    def __init__(self) -> None:
        self._readings: deque[tuple[int, int]] = deque()

    def add(self, at_ns: int, energy_uj: int) -> int | None:
        """Add a reading and return the mean power over the second before it, or None in the first second.

        The result is in milliwatts. Power counts as constant between two readings, even if readings in between failed,
        because the counter kept counting.
        """
        self._readings.append((at_ns, energy_uj))
        opens_ns = at_ns - WINDOW_NS
        if self._readings[0][0] > opens_ns:
            return None
        while self._readings[1][0] <= opens_ns:
            self._readings.popleft()
        (before_ns, before_uj), (after_ns, after_uj) = self._readings[0], self._readings[1]
        duration_ns = after_ns - before_ns
        before_window = (after_uj - before_uj) * (opens_ns - before_ns)
        return max(0, (energy_uj - before_uj) * duration_ns - before_window) // (duration_ns * UW_PER_MW)


class _ActionLog:
    """Quotas over time: all at first, later every second, every fourth and so on, so that they fit into a record."""

    def __init__(self) -> None:
        self._kept: list[PowerAction] = []
        self._last: PowerAction | None = None
        self._count = 0
        self._stride = 1

    def add(self, action: PowerAction) -> None:
        if self._count % self._stride == 0:
            self._kept.append(action)
        self._count += 1
        self._last = action
        # One place stays free for the last action.
        if len(self._kept) == MAX_SAMPLES:
            self._kept = self._kept[::2]
            self._stride *= 2

    def entries(self) -> tuple[PowerAction, ...]:
        """Return the first action, the last, and as many evenly spaced actions between them as fit."""
        if self._last is None or self._last is self._kept[-1]:
            return tuple(self._kept)
        return (*self._kept, self._last)


@dataclass(frozen=True, slots=True)
class _Reading:
    at_ns: int
    energy_uj: int
    cpu_time_ns: int
    granted_ns: int


class Governor:
    """Enforces the power limit of one execution. Call `observe` once per `interval_ns` and apply its decision."""

    def __init__(
        self,
        policy: GovernorPolicy,
        *,
        cap_mw: int,
        idle_mw: int,
        quota_max_nano: int,
        high_mw_per_cpu: int,
        update_ns: int,
    ) -> None:
        """Start with a quota below what the highest possible power of a CPU allows.

        Args:
            policy: table `[governor]` of `power.toml`.
            cap_mw: the limit, in milliwatts.
            idle_mw: power charged to the execution for its reserved CPUs while they are idle.
            quota_max_nano: the most that its threads could use, in nanoseconds of CPU time per second.
            high_mw_per_cpu: upper bound of the power that one busy CPU draws beyond its idle share.
            update_ns: time between two steps of the meter's slowest counter.
        """
        self._policy = policy
        self._interval_ns = max(policy.interval_ms * NS_PER_MS, policy.updates_min * update_ns)
        self._cap_mw = cap_mw
        self._idle_mw = idle_mw
        self._floor_nano = policy.quota_floor_percent * NANO_CPUS_PER_CPU // PERCENT
        self._most_nano = max(self._floor_nano, quota_max_nano)
        self._target_mw = cap_mw * policy.target_percent / PERCENT
        # At this price only the lowest quota is affordable. A higher price would only take longer to correct.
        self._dearest = max(1.0, (self._target_mw - idle_mw) * NANO_CPUS_PER_CPU / self._floor_nano)
        start_mw_per_cpu = max(1, high_mw_per_cpu) * PERCENT / policy.start_percent
        self._mw_per_cpu = min(start_mw_per_cpu, self._dearest)
        self._quota_nano = self._affordable_nano(0)
        self._log = _ActionLog()
        self._last: _Reading | None = None
        self._granted_ns = 0
        self._granted_at_ns: int | None = None
        self._mean = RollingMean()
        self._windows = self._windows_over = 0
        self._worst_mw: int | None = None
        self._over_since_ns: int | None = None
        self._lost_since_ns: int | None = None

    @property
    def interval_ns(self) -> int:
        """Time between two observations."""
        return self._interval_ns

    @property
    def quota_nano(self) -> int:
        """The quota in force; before the first observation, the quota to start the execution with."""
        return self._quota_nano

    def observe(self, at_ns: int, *, energy_uj: int | None, cpu_time_ns: int | None) -> Decision:
        """Take one reading of the counters and decide.

        Args:
            at_ns: time of the reading, on the clock of the record's samples.
            energy_uj: energy attributed to the execution so far; None means a gap.
            cpu_time_ns: CPU time of its control group so far; None means a gap.
        """
        self._grant(at_ns)
        if energy_uj is None or cpu_time_ns is None:
            return self._bear_gap(at_ns)
        now = _Reading(at_ns, energy_uj, cpu_time_ns, self._granted_ns)
        before = self._last
        if before is None:
            self._mean.add(at_ns, energy_uj)
        elif at_ns - before.at_ns < self._interval_ns // 2:
            # The counters move in steps; the next reading includes this interval as well.
            return Decision(self._quota_nano, "keep")
        else:
            self._judge(at_ns, self._mean.add(at_ns, energy_uj))
            self._govern(before, now)
        self._last, self._lost_since_ns = now, None
        return Decision(self._quota_nano, "exceeded" if self._is_exceeded(at_ns) else "keep")

    def evidence(
        self,
        *,
        basis: Literal["measured", "model"],
        throttled_ns: int | None,
        throttled_periods: int | None,
        gpu_limit_mw: int | None,
    ) -> PowerLimitEvidence:
        """Return the record's evidence of the limit; the arguments are facts that only the caller knows."""
        return PowerLimitEvidence(
            cap_mw=self._cap_mw,
            basis=basis,
            tolerance_percent=self._policy.tolerance_percent,
            grace_ms=self._policy.grace_ms,
            windows=self._windows,
            windows_over=self._windows_over,
            worst_window_mw=self._worst_mw,
            throttled_ns=throttled_ns,
            throttled_periods=throttled_periods,
            gpu_limit_mw=gpu_limit_mw,
            actions=self._log.entries(),
        )

    def _grant(self, at_ns: int) -> None:
        if self._granted_at_ns is None:
            self._note(at_ns, None)
            self._granted_at_ns = at_ns
        self._granted_ns += self._quota_nano * max(0, at_ns - self._granted_at_ns) // NANO_CPUS_PER_CPU
        self._granted_at_ns = max(at_ns, self._granted_at_ns)

    def _bear_gap(self, at_ns: int) -> Decision:
        if self._lost_since_ns is None:
            self._lost_since_ns = at_ns
        self._set(self._floor_nano, at_ns, None)
        lost_ns = at_ns - self._lost_since_ns
        is_lost = lost_ns >= self._policy.sensor_lost_ms * NS_PER_MS
        return Decision(self._quota_nano, "sensor_lost" if is_lost else "keep")

    def _judge(self, at_ns: int, mean_mw: int | None) -> None:
        if mean_mw is None:
            return
        self._windows += 1
        self._worst_mw = max(self._worst_mw or 0, min(mean_mw, MAX_MW))
        if mean_mw * PERCENT <= self._cap_mw * (PERCENT + self._policy.tolerance_percent):
            self._over_since_ns = None
            return
        self._windows_over += 1
        if self._over_since_ns is None:
            self._over_since_ns = at_ns

    def _is_exceeded(self, at_ns: int) -> bool:
        since_ns = self._over_since_ns
        return since_ns is not None and at_ns - since_ns > self._policy.grace_ms * NS_PER_MS

    def _govern(self, before: _Reading, now: _Reading) -> None:
        duration_ns = now.at_ns - before.at_ns
        power_mw = max(0, now.energy_uj - before.energy_uj) * NS_PER_MS / duration_ns
        used_ns = min(max(0, now.cpu_time_ns - before.cpu_time_ns), now.granted_ns - before.granted_ns)
        self._learn(power_mw, used_ns * NANO_CPUS_PER_CPU / duration_ns)
        quota_nano = self._affordable_nano(power_mw)
        if power_mw > self._cap_mw:
            quota_nano = min(quota_nano, self._quota_nano)
        elif abs(quota_nano - self._quota_nano) * PERCENT < self._policy.hold_percent * self._quota_nano:
            # Every write refills the group's CPU time and adds an entry to the record.
            return
        self._set(quota_nano, now.at_ns, min(round(power_mw), MAX_MW))

    def _learn(self, power_mw: float, used_nano: float) -> None:
        dynamic_mw = power_mw - self._idle_mw
        seen = dynamic_mw * NANO_CPUS_PER_CPU / max(1.0, used_nano)
        if power_mw > self._cap_mw:
            self._mw_per_cpu = min(max(self._mw_per_cpu, seen), self._dearest)
            return
        # An interval of waiting says little about the price, and an error of the idle power weighs heavily in it. The
        # weight is therefore the square of the share of the possible time that was used.
        part = used_nano / max(used_nano, self._affordable_nano(0))
        weight = part * part * self._policy.smoothing_percent / PERCENT
        self._mw_per_cpu = max(1.0, self._mw_per_cpu + weight * (seen - self._mw_per_cpu))

    def _affordable_nano(self, power_mw: float) -> int:
        excess_mw = max(0.0, power_mw - self._cap_mw) * self._policy.payback_percent / PERCENT
        wanted = (self._target_mw - self._idle_mw - excess_mw) * NANO_CPUS_PER_CPU / self._mw_per_cpu
        return min(max(int(wanted), self._floor_nano), self._most_nano)

    def _set(self, quota_nano: int, at_ns: int, power_mw: int | None) -> None:
        if quota_nano != self._quota_nano:
            self._quota_nano = quota_nano
            self._note(at_ns, power_mw)

    def _note(self, at_ns: int, power_mw: int | None) -> None:
        self._log.add(PowerAction(at_ns=at_ns, quota_nano_cpus=self._quota_nano, power_mw=power_mw))
