"""A pooled sandbox in its two states: under preparation, and waiting for its job."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from contracts.wire.units import NS_PER_S
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.ports import Sandbox
from supervisor.domain.sandbox.recipe import SandboxRecipe
from supervisor.execution.preparation import PreparedSandbox

__all__ = ["SandboxBeingMade", "WaitingSandbox"]

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class SandboxBeingMade:
    """A sandbox under preparation."""

    recipe: SandboxRecipe
    digest: str
    """Digest of the recipe."""
    task: asyncio.Task[None] | None = None
    sandbox: Sandbox | None = None
    """Set while the sandbox can be moved and frozen."""
    deadline: asyncio.Timeout | None = None
    is_frozen: bool = False

    def settle(self, idle: frozenset[int], *, timeout_s: float) -> None:
        """Run on the idle CPUs; freeze the sandbox while there are none.

        Args:
            idle: the CPUs that no execution has leased.
            timeout_s: seconds that preparation gets from now on; time spent frozen does not count.

        Raises:
            ExecutionFault: ``limit_unenforceable``.
        """
        if self.sandbox is None:
            return
        if idle:
            self.sandbox.place(idle, in_background=True)
            if self.is_frozen:
                self.sandbox.thaw()
        else:
            self.sandbox.freeze()
        self.is_frozen = not idle
        if self.deadline is not None and not self.deadline.expired():
            now = asyncio.get_running_loop().time()
            self.deadline.reschedule(now + timeout_s if idle else None)


@dataclass(slots=True, eq=False)
class WaitingSandbox:
    """A sandbox that waits for a job."""

    prepared: PreparedSandbox
    digest: str
    """Digest of the recipe."""
    stack: AsyncExitStack
    """Closing it ends the sandbox."""
    ready_ns: int
    is_frozen: bool
    watch: asyncio.Task[bytes] | None = None
    """Ends when the sandbox sends something, or ends."""

    async def make_fit(self, cpus: frozenset[int], *, max_age_s: float) -> bool:
        """Move the sandbox to an execution's CPUs and return whether it can be used.

        A sandbox that has sent something, has ended or is too old cannot be used.
        """
        if self.watch is not None:
            self.watch.cancel()
            await asyncio.wait({self.watch})
            if not self.watch.cancelled():
                return False
        if time.monotonic_ns() - self.ready_ns > max_age_s * NS_PER_S:
            return False
        sandbox = self.prepared.sandbox
        try:
            sandbox.place(cpus, in_background=False)
            if self.is_frozen:
                sandbox.thaw()
        except ExecutionFault as fault:
            _log.warning("a ready sandbox cannot be used: %s", fault.detail)
            return False
        return True

    async def end(self) -> None:
        """End the unused sandbox."""
        if self.watch is not None:
            self.watch.cancel()
            await asyncio.gather(self.watch, return_exceptions=True)
        await self.stack.aclose()
