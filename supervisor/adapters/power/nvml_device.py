"""One NVIDIA device through NVML: every call that the engine makes of it, and every error in words.

The calls go to the driver, and take long while it is busy, or for ever when it hangs. So each is made in a thread that
nobody waits for longer than its deadline, and until it is back no other one is made. A reading may be made on the event
loop; opening and setting are for a thread. `pynvml` (package nvidia-ml-py) is imported at first need; its library comes
with the driver.
"""

import importlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from typing import Any

from contracts.wire.units import UJ_PER_MJ
from supervisor.domain.power.meter import MissingMeter

__all__ = ["GpuError", "NvmlDevice", "open_device"]

# A reading takes a few milliseconds; a card that sleeps is woken in some seconds, one after the other.
READING_S = 0.5
SETTING_S = 10.0
OPENING_S = 30.0


class GpuError(Exception):
    """The driver refused a call; the message says which and why.

    Attributes:
        is_unsupported: this kind of device, or this driver, cannot do it.
        is_absent: there is no library, no driver or no device.
    """

    def __init__(self, message: str, *, is_unsupported: bool = False, is_absent: bool = False) -> None:
        super().__init__(message)
        self.is_unsupported = is_unsupported
        self.is_absent = is_absent


class NvmlDevice:
    """An open device; `close` gives the library back."""

    def __init__(self, nvml: Any, find: Callable[[Any], Any]) -> None:  # noqa: ANN401 - pynvml has no types
        """Open it: NVML counts how often it was initialised and shut down.

        Args:
            nvml: the module `pynvml`.
            find: returns the device's handle, given that module.

        Raises:
            GpuError: the library refuses, or there is no such device.
        """
        self._nvml = nvml
        self._under_way: Future[Any] | None = None
        self._call("nvmlInit", deadline_s=OPENING_S)
        try:
            self._handle = self._translate("finding the device", lambda: find(nvml), OPENING_S)
            self.index = int(self._ask("nvmlDeviceGetIndex"))
            self.name = str(self._ask("nvmlDeviceGetName"))
            self.uuid = str(self._ask("nvmlDeviceGetUUID"))
        except GpuError:
            self.close()
            raise

    def close(self) -> None:
        """Give the library back. Where it refuses, nothing is held but a count in a library that does not work."""
        with suppress(GpuError):
            self._call("nvmlShutdown", deadline_s=SETTING_S)

    def energy_uj(self) -> int:
        """Return the microjoules since the driver was loaded.

        Raises:
            GpuError: before Volta there is no such counter.
        """
        return int(self._ask("nvmlDeviceGetTotalEnergyConsumption")) * UJ_PER_MJ

    def is_partitioned(self) -> bool:
        """Return whether the device is cut into instances (MIG).

        Raises:
            GpuError: it cannot be told.
        """
        try:
            current, _pending = self._ask("nvmlDeviceGetMigMode")
        except GpuError as error:
            if error.is_unsupported:
                return False
            raise
        return bool(current)

    def processes(self) -> frozenset[int]:
        """Return the ids of the processes that compute or draw on the device, as the host knows them.

        Raises:
            GpuError: it cannot be told.
        """
        found = {int(each.pid) for each in self._ask("nvmlDeviceGetComputeRunningProcesses")}
        try:
            found |= {int(each.pid) for each in self._ask("nvmlDeviceGetGraphicsRunningProcesses")}
        except GpuError as error:
            # A device that cannot draw.
            if not error.is_unsupported:
                raise
        return frozenset(found)

    def limit_range_mw(self) -> tuple[int, int]:
        """Return the lowest and the highest power limit that the device takes.

        Raises:
            GpuError: it takes none.
        """
        lowest, highest = self._ask("nvmlDeviceGetPowerManagementLimitConstraints")
        return int(lowest), int(highest)

    def limit_mw(self) -> int:
        """Return the power limit.

        Raises:
            GpuError: it has none.
        """
        return int(self._ask("nvmlDeviceGetPowerManagementLimit"))

    def set_limit_mw(self, limit_mw: int) -> None:
        """Set the power limit; needs root.

        Raises:
            GpuError: it is not taken.
        """
        self._ask("nvmlDeviceSetPowerManagementLimit", limit_mw, deadline_s=SETTING_S)

    def _ask(self, function: str, *arguments: object, deadline_s: float = READING_S) -> Any:  # noqa: ANN401 - as above
        return self._call(function, self._handle, *arguments, deadline_s=deadline_s)

    def _call(self, function: str, *arguments: object, deadline_s: float) -> Any:  # noqa: ANN401 - as above
        return self._translate(function, lambda: getattr(self._nvml, function)(*arguments), deadline_s)

    def _translate(self, what: str, call: Callable[[], Any], deadline_s: float) -> Any:  # noqa: ANN401 - as above
        nvml = self._nvml
        if self._under_way is not None and not self._under_way.done():
            message = f"{what}: the driver has not come back from an earlier call"
            raise GpuError(message)
        self._under_way = _begin(call)
        try:
            return self._under_way.result(deadline_s)
        except TooLate as error:
            message = f"{what}: the driver did not answer within {deadline_s:g} s"
            raise GpuError(message) from error
        except nvml.NVMLError as error:
            absent = {nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED, nvml.NVML_ERROR_NOT_FOUND}
            unsupported = {nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND}
            message = f"{what}: {error}"
            raise GpuError(
                message, is_unsupported=error.value in unsupported, is_absent=error.value in absent
            ) from error


def _begin(call: Callable[[], Any]) -> "Future[Any]":
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - handed to the waiting caller
            future.set_exception(error)

    # The end of this process does not wait for it either.
    threading.Thread(target=work, name="nvml", daemon=True).start()
    return future


def open_device(index: int = 0, *, uuid: str | None = None) -> NvmlDevice | MissingMeter:
    """Open a device, or say why there is none.

    Args:
        index: its number.
        uuid: its name for life, instead of a number.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return MissingMeter("nvidia-ml-py is not installed", is_there=False)

    def find(module: Any) -> Any:  # noqa: ANN401 - as above
        if uuid is not None:
            return module.nvmlDeviceGetHandleByUUID(uuid)
        count = module.nvmlDeviceGetCount()
        if index >= count:
            message = f"the driver has {count} devices, and none has the number {index}"
            raise GpuError(message, is_absent=True)
        return module.nvmlDeviceGetHandleByIndex(index)

    try:
        return NvmlDevice(nvml, find)
    except GpuError as error:
        return MissingMeter(str(error), is_there=not error.is_absent)
