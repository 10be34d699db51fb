"""The first process of a container, held so that its number cannot come to mean another process."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

__all__ = ["FirstProcess"]


class FirstProcess:
    """Ends a container's processes by the kernel's hand: with its first process all of its namespace end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def of(cls, pid: int, container_id: str, *, root: Path = Path("/")) -> "FirstProcess | None":
        """Take hold of a process, or return None where it has ended, cannot be seen or is not the container's.

        Args:
            pid: as the host counts.
            container_id: which its control groups are named after.
            root: where the host's /proc lies.
        """
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return None
        try:
            # Checked while the process is held, so that a number which was reused is noticed.
            groups = (root / "proc" / str(pid) / "cgroup").read_text()
        except OSError:
            groups = ""
        if container_id in groups:
            return cls(descriptor)
        os.close(descriptor)
        return None

    def kill(self) -> None:
        """Send SIGKILL; harmless where it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    async def wait_ended(self, timeout_s: float) -> bool:
        """Wait until it has ended and let go of it; return whether it has."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # pidfd_open(2): it becomes readable when the process ends.
        loop.add_reader(self._descriptor, ended.set)
        try:
            async with asyncio.timeout(timeout_s):
                await ended.wait()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
