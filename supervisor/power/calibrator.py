"""Measures the power of this machine: idle, and with 1, 2, 4 and so on up to all CPUs busy."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.execution.calibration import Calibration, CalibrationStep, HostFingerprint
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import EngineError
from supervisor.domain.power.calibration import (
    Interval,
    busy_counts,
    interval_between,
    judge_quiet,
    measure_calibration,
    median_mw,
)
from supervisor.domain.power.meter import MeterPort
from supervisor.power.busy_cpus import busy_cpus

__all__ = ["LEAST_SECONDS", "Calibrator"]

INTERVAL_S = 1.0
# A median of fewer intervals says little, and a shorter time cannot show that the host is quiet.
LEAST_SECONDS = 5
STEP_SECONDS = 5
SETTLING_SECONDS = 1
# Number of intervals after which a noisy host is refused, instead of after the whole time.
JUDGED_FROM = 3

_Load = Callable[[int, float], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Calibrates one machine with one meter; tests pass another load and another way to wait."""

    meter: MeterPort
    host: HostFingerprint
    engine_version: str
    progress: Progress
    load: _Load = busy_cpus
    sleep: Callable[[float], None] = time.sleep
    usable_cpus: int = len(os.sched_getaffinity(0))
    """Logical CPUs that this process can keep busy."""

    def calibrate(self, seconds: int) -> Calibration:
        """Measure the machine and return its calibration.

        Args:
            seconds: how long to measure the idle machine.

        Raises:
            EngineError: ``host_not_quiet`` if other programs are busy; ``meter_unreadable`` if there are too many gaps.
        """
        reason = f"the median over {seconds} s becomes the idle baseline of every record"
        with self.progress.step("Measuring the idle machine", reason) as step:
            idle = self._watch(seconds, step)
        steps = tuple(self._measure_step(count) for count in busy_counts(self.usable_cpus))
        return measure_calibration(
            idle,
            steps,
            domains=self.meter.domains,
            host=self.host,
            engine_version=self.engine_version,
            now=datetime.now(UTC),
        )

    def _measure_step(self, count: int) -> CalibrationStep:
        title = f"Keeping {count} of {self.host.logical_cpus} CPUs busy"
        with (
            self.progress.step(title, "power limits are planned with the power that a busy CPU adds") as step,
            self.load(count, 60 + 2 * STEP_SECONDS),
        ):
            self.sleep(SETTLING_SECONDS)
            intervals = self._watch(STEP_SECONDS, step, own_cpus=count)
        return CalibrationStep(busy_cpus=count, power_mw=median_mw(intervals))

    def _watch(self, seconds: int, step: Step, *, own_cpus: int = 0) -> list[Interval]:
        intervals: list[Interval] = []
        before = self.meter.read()
        fault = "a counter stood still"
        for second in range(1, seconds + 1):
            self.sleep(INTERVAL_S)
            after = self.meter.read()
            interval = interval_between(before, after)
            before = after
            fault = after.faults[0] if after.faults else fault
            if interval is None:
                continue
            intervals.append(interval)
            step.update(second, seconds, f"{interval.power_mw / 1000:.2f} W")
            noise = judge_quiet(intervals, self.host.logical_cpus, own_cpus=own_cpus)
            if noise is not None and len(intervals) >= JUDGED_FROM:
                detail = f"this machine cannot be calibrated now: {noise}. Fix that or wait, then calibrate again"
                raise EngineError("host_not_quiet", detail)
        if 2 * len(intervals) < seconds or len(intervals) < JUDGED_FROM:
            detail = f"the meter could be read in only {len(intervals)} of {seconds} intervals ({fault}); try again"
            raise EngineError("meter_unreadable", detail)
        return intervals
