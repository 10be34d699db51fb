"""One sandbox of the pool's: while it is being made, and while it waits for its job."""

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
    """A sandbox that is being made."""

    recipe: SandboxRecipe
    digest: str
    """The recipe's."""
    task: asyncio.Task[None] | None = None
    sandbox: Sandbox | None = None
    """Set while it can be moved and frozen."""
    deadline: asyncio.Timeout | None = None
    is_frozen: bool = False

    def settle(self, idle: frozenset[int], *, timeout_s: float) -> None:
        """Go on on CPUs that nobody has leased; where there are none, stand still.

        Args:
            idle: these CPUs.
            timeout_s: what it has left; none of it passes while it stands still.

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
    """Its recipe's."""
    stack: AsyncExitStack
    """Closing it ends the sandbox."""
    ready_ns: int
    is_frozen: bool
    watch: asyncio.Task[bytes] | None = None
    """Ends when it says something."""

    async def make_fit(self, cpus: frozenset[int], *, max_age_s: float) -> bool:
        """Move it to an execution's CPUs; return False where it cannot be used: it has spoken, ended, or is too old."""
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
            _log.warning("a sandbox that was ready cannot be used: %s", fault.detail)
            return False
        return True

    async def end(self) -> None:
        """End it unused."""
        if self.watch is not None:
            self.watch.cancel()
            await asyncio.gather(self.watch, return_exceptions=True)
        await self.stack.aclose()
