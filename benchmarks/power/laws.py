"""The law to compare with: the design page's, an integral of the error divided by watts per quota."""

from contracts.wire.units import MW_NS_PER_UJ, NANO_CPUS_PER_CPU, NS_PER_S
from supervisor.domain.power.governor import Decision

__all__ = ["IntegralLaw"]

# The page's constants.
TARGET = 0.97
GAIN = 0.4
GAIN_OVER = 0.64
SMOOTHING = 0.5
FLOOR_CPUS = 0.05


class IntegralLaw:
    """Every 0.5 s ``g = EWMA((W - W_idle) / q, 0.5)``, ``q += k * (0.97 * cap - W) / g``, clamped."""

    interval_ns = NS_PER_S // 2

    def __init__(self, *, cap_mw: int, idle_mw: int, quota_max_nano: int, high_mw_per_cpu: int) -> None:
        self._cap_mw = cap_mw
        self._idle_mw = idle_mw
        self._most_cpus = quota_max_nano / NANO_CPUS_PER_CPU
        self._mw_per_cpu = float(high_mw_per_cpu)
        self._cpus = self._clamped((TARGET * cap_mw - idle_mw) / high_mw_per_cpu)
        self._last: tuple[int, int] | None = None

    @property
    def quota_nano(self) -> int:
        """The current setting."""
        return int(self._cpus * NANO_CPUS_PER_CPU)

    def observe(self, at_ns: int, *, energy_uj: int | None, cpu_time_ns: int | None) -> Decision:
        """Decide on a reading; the page does not look at the CPU time."""
        if energy_uj is not None:
            if self._last is not None:
                before_ns, before_uj = self._last
                self._govern((energy_uj - before_uj) * MW_NS_PER_UJ / (at_ns - before_ns))
            self._last = (at_ns, energy_uj)
        return Decision(self.quota_nano, "keep")

    def _govern(self, power_mw: float) -> None:
        seen = (power_mw - self._idle_mw) / self._cpus
        self._mw_per_cpu = max(1.0, SMOOTHING * seen + (1 - SMOOTHING) * self._mw_per_cpu)
        gain = GAIN_OVER if power_mw > self._cap_mw else GAIN
        self._cpus = self._clamped(self._cpus + gain * (TARGET * self._cap_mw - power_mw) / self._mw_per_cpu)

    def _clamped(self, cpus: float) -> float:
        return min(max(cpus, FLOOR_CPUS), self._most_cpus)
