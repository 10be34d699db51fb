"""The power limit of one whole GPU: set for an execution, and put back in every case.

The limit that was there is kept in a file before another one is set, so that the next start can put it back after a
crash. Setting needs root. The driver itself forgets limits when it is unloaded. Only one home may limit a card: two
would take each other's limits for the card's own.
"""

import threading
from pathlib import Path
from typing import Protocol

from contracts.wire.document import Contract
from contracts.wire.errors import ContractError
from contracts.wire.types import Positive
from contracts.wire.units import MW_PER_W
from supervisor.adapters.files import write_private
from supervisor.adapters.power.nvml_device import GpuError, open_device
from supervisor.domain.errors import EngineError
from supervisor.domain.power.meter import MissingMeter

__all__ = ["LimitedDevice", "NvmlLimit", "describe_left_limit", "open_limit", "restore_left_limit"]


class LimitedDevice(Protocol):
    """What the limit needs of a device; every method but `close` raises `GpuError`."""

    name: str
    uuid: str

    def limit_range_mw(self) -> tuple[int, int]:
        """Return the lowest and the highest limit."""
        ...

    def limit_mw(self) -> int:
        """Return the limit."""
        ...

    def set_limit_mw(self, limit_mw: int) -> None:
        """Set it."""
        ...

    def close(self) -> None:
        """Give the device back."""
        ...


class KeptLimit(Contract):
    """The limit that a device had before the engine set one."""

    uuid: str
    """The device."""
    limit_mw: Positive
    """Its limit, in milliwatts."""


class NvmlLimit:
    """The limit of an open device. Every call goes to the driver and writes durably: not for the event loop."""

    def __init__(self, device: LimitedDevice, kept: Path) -> None:
        """Take the device and where its own limit is kept.

        Raises:
            GpuError: the device has no limit that can be set.
        """
        self._device = device
        self._kept = kept
        self._lock = threading.Lock()
        self.minimum_mw, self.maximum_mw = device.limit_range_mw()

    def set(self, limit_mw: int) -> int:
        """Keep the device's own limit durably, set another and see that it is in force.

        Returns:
            the limit in force: never more than the device's own, which the machine's administrator may have lowered.

        Raises:
            EngineError: ``power_limit_unenforceable``; the device has its own limit as before.
        """
        with self._lock:
            if not self.minimum_mw <= limit_mw <= self.maximum_mw:
                detail = (
                    f"{self._device.name} takes limits from {self.minimum_mw / MW_PER_W:g} W to "
                    f"{self.maximum_mw / MW_PER_W:g} W, not {limit_mw / MW_PER_W:g} W"
                )
                raise EngineError("power_limit_unenforceable", detail)
            limit_mw = min(limit_mw, self._keep())
            try:
                self._device.set_limit_mw(limit_mw)
                in_force_mw = self._device.limit_mw()
            except GpuError as error:
                self._restore()
                raise EngineError("power_limit_unenforceable", f"{self._device.name}: {error}") from error
            if in_force_mw > limit_mw:
                self._restore()
                detail = f"{self._device.name} was told {limit_mw} mW and has {in_force_mw} mW"
                raise EngineError("power_limit_unenforceable", detail)
            return in_force_mw

    def restore(self) -> None:
        """Put back the device's own limit; nothing to do where none was set.

        Raises:
            EngineError: ``power_limit_not_restored``; what is kept stays, and the next start tries again.
        """
        with self._lock:
            self._restore()

    def close(self) -> None:
        """Give the device back."""
        self._device.close()

    def _keep(self) -> int:
        kept = _read_kept(self._kept)
        if kept is not None and kept.uuid == self._device.uuid:
            # Set before and not put back since: what is kept is still the device's own.
            return kept.limit_mw
        if kept is not None:
            detail = f"{self._kept} still keeps the limit of another device ({kept.uuid}); put that back first"
            raise EngineError("power_limit_unenforceable", detail)
        try:
            own = KeptLimit(uuid=self._device.uuid, limit_mw=self._device.limit_mw())
            write_private(self._kept, own.canonical())
        except (GpuError, OSError) as error:
            detail = f"the limit of {self._device.name} cannot be kept for putting it back: {error}"
            raise EngineError("power_limit_unenforceable", detail) from error
        return own.limit_mw

    def _restore(self) -> None:
        kept = _read_kept(self._kept)
        if kept is None:
            return
        try:
            if kept.uuid != self._device.uuid:
                message = f"what is kept is the limit of {kept.uuid}, not of {self._device.uuid}"
                raise GpuError(message)
            if self._device.limit_mw() != kept.limit_mw:
                self._device.set_limit_mw(kept.limit_mw)
            self._kept.unlink()
        except (GpuError, OSError) as error:
            detail = (
                f"{self._device.name} keeps a power limit of the engine's: {error}. By hand: nvidia-smi -i "
                f"{kept.uuid} -pl {kept.limit_mw / MW_PER_W:g}, then remove {self._kept}"
            )
            raise EngineError("power_limit_not_restored", detail) from error


def _read_kept(path: Path) -> KeptLimit | None:
    try:
        return KeptLimit.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ContractError) as error:
        detail = f"{path} cannot be read ({error}); set the GPU's limit by hand with nvidia-smi -pl, then remove it"
        raise EngineError("power_limit_not_restored", detail) from error


def open_limit(kept: Path, index: int = 0) -> NvmlLimit | MissingMeter:
    """Open the limit of a device, or say why there is none that can be set from here.

    It is tried with the limit in force, which changes nothing.

    Args:
        kept: where the device's own limit is kept while another one is in force.
        index: the device's number.
    """
    device = open_device(index)
    if isinstance(device, MissingMeter):
        return device
    try:
        limit = NvmlLimit(device, kept)
        device.set_limit_mw(device.limit_mw())
    except GpuError as error:
        device.close()
        return MissingMeter(str(error), is_there=True)
    return limit


def describe_left_limit(kept: Path) -> str | None:
    """Return of which device another limit than its own may be in force, None of none.

    Raises:
        EngineError: ``power_limit_not_restored``; what is kept cannot be read.
    """
    left = _read_kept(kept)
    return None if left is None else f"{left.uuid} had {left.limit_mw / MW_PER_W:g} W"


def restore_left_limit(kept: Path) -> str | None:
    """Put back the limit that a supervisor left behind when it crashed; for the start, before anything is executed.

    Returns:
        what was done, in words; None: there was nothing to do.

    Raises:
        EngineError: ``power_limit_not_restored``; the device still has the engine's limit, or is not there.
    """
    left = _read_kept(kept)
    if left is None:
        return None
    device = open_device(uuid=left.uuid)
    if isinstance(device, MissingMeter):
        detail = f"{kept} keeps the limit of {left.uuid}, which cannot be reached: {device.reason}"
        raise EngineError("power_limit_not_restored", detail)
    try:
        limit = NvmlLimit(device, kept)
        limit.restore()
    except GpuError as error:
        raise EngineError("power_limit_not_restored", f"{left.uuid}: {error}") from error
    finally:
        device.close()
    return f"put back the power limit of {device.name} ({left.limit_mw / MW_PER_W:g} W) that a supervisor left behind"
