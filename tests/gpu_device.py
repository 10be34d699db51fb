"""A GPU that a test moves, for the engine's own meter and limit."""

from supervisor.adapters.power.nvml_device import GpuError

__all__ = ["OURS", "FakeDevice"]

OURS = 42


class FakeDevice:
    """Its counter, its processes and its limit; see ``nvml.EnergyDevice`` and ``nvml_limit.LimitedDevice``."""

    def __init__(self) -> None:
        self.index = 1
        self.name = "fake"
        self.uuid = "GPU-fake"
        self.counter_uj = 7_000_000
        self.pids: frozenset[int] = frozenset()
        self.fault: str | None = None
        self.limit_fault: str | None = None
        self.limit_in_force_mw = 300_000
        self.limits_set: list[int] = []
        self.is_closed = False

    def _try(self) -> None:
        if self.fault is not None:
            raise GpuError(self.fault)

    def energy_uj(self) -> int:
        """See ``nvml.EnergyDevice``."""
        self._try()
        return self.counter_uj

    def is_partitioned(self) -> bool:
        """See ``nvml.EnergyDevice``."""
        return False

    def processes(self) -> frozenset[int]:
        """See ``nvml.EnergyDevice``."""
        return self.pids

    def limit_range_mw(self) -> tuple[int, int]:
        """See ``nvml_limit.LimitedDevice``."""
        return 100_000, 400_000

    def limit_mw(self) -> int:
        """See ``nvml_limit.LimitedDevice``."""
        self._try()
        return self.limit_in_force_mw

    def set_limit_mw(self, limit_mw: int) -> None:
        """See ``nvml_limit.LimitedDevice``."""
        self._try()
        if self.limit_fault is not None:
            raise GpuError(self.limit_fault)
        self.limit_in_force_mw = limit_mw
        self.limits_set.append(limit_mw)

    def close(self) -> None:
        """See ``nvml.EnergyDevice``."""
        self.is_closed = True
