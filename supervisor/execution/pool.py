"""The pool of single-use sandboxes: prepared ahead, leased once, then ended and replaced.

A pooled sandbox contains nothing of any request and never returns to the pool. Preparation runs only on CPUs that no
execution has leased; while no CPU is idle, the sandbox is frozen.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol

from prometheus_client import Metric

from contracts.wire.types import IsolationTier
from supervisor.domain.errors import EngineError, ExecutionFault
from supervisor.domain.policies.policy import PoolPolicy
from supervisor.domain.pool.demand import PoolDemand
from supervisor.domain.pool.plan import DropReason, PooledSandbox, Wanted, plan_pool
from supervisor.domain.pool.setbacks import Setbacks
from supervisor.domain.pool.survey import Survey
from supervisor.domain.sandbox.recipe import SandboxRecipe
from supervisor.execution.pool_metrics import PoolFacts
from supervisor.execution.pooled_sandbox import SandboxBeingMade, WaitingSandbox
from supervisor.execution.preparation import PreparedSandbox, Preparer
from supervisor.tasks import TaskSet, beside

__all__ = ["SandboxPool", "make_sandbox_name"]

_log = logging.getLogger(__name__)

# Seconds before a recipe that could not be prepared once is tried again; each further failure doubles them.
RETRY_S = 10.0

# The code of a preparation that exceeded its time.
TOO_SLOW = "prepare_timeout"


class IdleCpus(Protocol):
    """The source of the CPUs that no execution has leased."""

    @property
    def idle_cpus(self) -> frozenset[int]:
        """The CPUs that no lease covers."""
        ...

    def watch_idle(self, callback: Callable[[frozenset[int]], None]) -> None:
        """Call the callback whenever the idle CPUs change, before an execution gets the CPUs concerned."""
        ...


def make_sandbox_name(tier: IsolationTier) -> str:
    """Return a new, unique name; it contains the tier, so that a list of containers shows the tier."""
    return f"{tier}-{secrets.token_hex(8)}"


class SandboxPool:
    """Sandboxes of recipes that are declared or were requested recently."""

    def __init__(
        self,
        preparer: Preparer,
        cpus: IdleCpus,
        policy: PoolPolicy,
        *,
        budget_bytes: int,
        survey: Callable[[], Survey],
        unplaceable: str | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        """Create an empty pool.

        Args:
            preparer: prepares the sandboxes.
            cpus: source of the idle CPUs on which sandboxes are prepared.
            policy: `pool.toml`.
            budget_bytes: memory for all pooled sandboxes together.
            survey: returns the declared recipes and the installed images and models.
            unplaceable: why containers cannot be moved and frozen on this machine; the pool then stays empty. None
                means that they can.
            retry_s: seconds before a recipe that could not be prepared once is tried again.
        """
        self._preparer = preparer
        self._cpus = cpus
        self._policy = policy
        self._budget_bytes = budget_bytes
        self._survey = survey
        self._unplaceable = unplaceable
        self._demand = PoolDemand(policy)
        self._setbacks = Setbacks(retry_s)
        # Keyed by number, the oldest first.
        self._making: dict[int, SandboxBeingMade] = {}
        self._ready: dict[int, WaitingSandbox] = {}
        self._endings = TaskSet()
        self._numbers = 0
        self._wake = asyncio.Event()
        self._is_closing = False
        self._hits = self._misses = self._failures = 0
        self._dropped: Counter[str] = Counter()
        self._fault = unplaceable
        cpus.watch_idle(self._move)

    def has_ready(self, recipe: SandboxRecipe) -> bool:
        """Return whether a sandbox of a recipe is ready; another execution may take it at any moment."""
        return any(ready.prepared.recipe == recipe for ready in self._ready.values())

    @asynccontextmanager
    async def take(self, recipe: SandboxRecipe, cpus: tuple[int, ...]) -> AsyncIterator[PreparedSandbox | None]:
        """Take a ready sandbox of a recipe for one use; leaving the context ends the sandbox.

        Args:
            recipe: the exact recipe that the sandbox must have.
            cpus: the CPUs on which the sandbox runs from now on.

        Yields:
            The sandbox; None means that none is ready and the caller must prepare a fresh sandbox.
        """
        ready = await self._take_ready(recipe, frozenset(cpus))
        if ready is None:
            self._misses += 1
            yield None
            return
        self._hits += 1
        async with ready.stack:
            yield ready.prepared

    @asynccontextmanager
    async def tended(self) -> AsyncIterator[None]:
        """Keep the pool as the policy requires, and end every pooled sandbox when the block ends."""
        try:
            async with beside(self._keep_tending(), name="sandbox-pool"):
                yield
        finally:
            await self._close()

    async def _keep_tending(self) -> None:
        while True:
            try:
                self._demand.survey(self._survey())
                self._tend()
                await self._tend_when_woken()
            except Exception:  # noqa: BLE001 - the task's boundary: without the pool executions start cold
                _log.exception("updating the sandbox pool failed")
                await asyncio.sleep(self._policy.tend_every_s)

    async def _tend_when_woken(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._policy.tend_every_s):
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    self._tend()

    async def _close(self) -> None:
        self._is_closing = True
        for number in (*self._making, *self._ready):
            self._drop(number)
        await self._endings.wait()

    def facts(self) -> PoolFacts:
        """Return the current state of the pool."""
        return PoolFacts(
            ready=len(self._ready),
            being_made=len(self._making),
            hits=self._hits,
            misses=self._misses,
            dropped=dict(self._dropped),
            failures=self._failures,
            fault=self._fault,
            held_back=self._setbacks.count_by_code(),
        )

    def collect(self) -> tuple[Metric, ...]:
        """Return the pool's metrics; Prometheus' library requires this name."""
        return self.facts().families()

    def _tend(self) -> None:
        wanted = self._demand.wanted()
        self._setbacks.keep(wanted)
        now = time.monotonic()
        possible = [
            Wanted(digest, recipe.memory_bytes, count if self._setbacks.may_try(digest, now) else 0)
            for digest, (recipe, count) in wanted.items()
        ]
        step = plan_pool(
            tuple(self._there()),
            possible,
            self._policy,
            budget_bytes=self._budget_bytes,
            now_ns=time.monotonic_ns(),
        )
        for number, reason in step.drop:
            self._drop(number, reason)
        for digest in step.make:
            if not self._may_begin():
                return
            self._begin(digest, wanted[digest][0])

    def _may_begin(self) -> bool:
        if self._is_closing or self._unplaceable is not None:
            return False
        return bool(self._cpus.idle_cpus) and len(self._making) < self._policy.at_once

    def _there(self) -> Iterator[PooledSandbox]:
        for number, ready in self._ready.items():
            yield PooledSandbox(number, ready.digest, ready.prepared.recipe.memory_bytes, ready.ready_ns)
        for number, making in self._making.items():
            yield PooledSandbox(number, making.digest, making.recipe.memory_bytes, None)

    def _begin(self, digest: str, recipe: SandboxRecipe) -> None:
        self._numbers += 1
        making = self._making[self._numbers] = SandboxBeingMade(recipe, digest)
        # The CPUs that are idle now. If all are leased before the sandbox starts, it is frozen right after its start.
        cpus = tuple(sorted(self._cpus.idle_cpus))
        making.task = asyncio.create_task(self._make(self._numbers, making, cpus), name=f"sandbox-{self._numbers}")

    async def _make(self, number: int, making: SandboxBeingMade, cpus: tuple[int, ...]) -> None:
        digest = making.digest
        try:
            async with AsyncExitStack() as stack:
                prepared = await self._prepare(making, cpus, stack)
                ready = WaitingSandbox(prepared, digest, stack.pop_all(), time.monotonic_ns(), making.is_frozen)
        except (EngineError, TimeoutError) as fault:
            self._count_failure(digest, fault)
        else:
            self._fault = None
            self._setbacks.forget(digest)
            self._ready[number] = ready
            ready.watch = asyncio.create_task(self._watch(number, ready), name=f"watch-sandbox-{number}")
        finally:
            self._making.pop(number, None)
            self._wake.set()

    def _count_failure(self, digest: str, fault: EngineError | TimeoutError) -> None:
        self._failures += 1
        code, self._fault = (
            (fault.code, fault.detail) if isinstance(fault, EngineError) else (TOO_SLOW, "preparation took too long")
        )
        setback = self._setbacks.add(digest, code, time.monotonic())
        if setback is not None and setback.is_told:
            text = "a pooled sandbox could not be prepared, %d time(s) in a row; the next attempt is in %.0f s: %s"
            _log.warning(text, setback.count, setback.wait_s, self._fault)

    async def _prepare(self, making: SandboxBeingMade, cpus: tuple[int, ...], stack: AsyncExitStack) -> PreparedSandbox:
        async with asyncio.timeout(self._policy.prepare_timeout_s) as making.deadline:
            name = make_sandbox_name(making.recipe.isolation)
            fresh = await stack.enter_async_context(self._preparer.open(name, making.recipe, cpus))
            making.sandbox = fresh.sandbox
            try:
                making.settle(self._cpus.idle_cpus, timeout_s=self._policy.prepare_timeout_s)
                prepared = await self._preparer.load(fresh, is_held=lambda: making.is_frozen)
                if making.recipe.scheduling.omp_wait_policy == "active":
                    # Its threads also spin while they wait for a job, on CPUs that executions may have leased.
                    fresh.sandbox.freeze()
                    making.is_frozen = True
                return prepared
            finally:
                making.sandbox = None

    async def _watch(self, number: int, ready: WaitingSandbox) -> bytes:
        # A waiting sandbox sends nothing. Any message, or the end of its stream, makes it unfit.
        try:
            said, _ = await ready.prepared.sandbox.receive()
        except ExecutionFault as fault:
            said = b""
            _log.warning("a ready sandbox can no longer be used: %s", fault.detail)
        if number in self._ready:
            self._drop(number, "unhealthy")
            self._wake.set()
        return said

    async def _take_ready(self, recipe: SandboxRecipe, cpus: frozenset[int]) -> WaitingSandbox | None:
        self._demand.ask(recipe)
        self._wake.set()
        for number, ready in list(self._ready.items()):
            if self._ready.get(number) is not ready or ready.prepared.recipe != recipe:
                continue
            # Removed first, so that no other execution can take the sandbox meanwhile.
            del self._ready[number]
            try:
                is_fit = await ready.make_fit(cpus, max_age_s=self._policy.max_age_s)
                # The file may have been written to while the sandbox waited.
                if is_fit and self._preparer.has_its_model(ready.prepared):
                    return ready
            except BaseException:
                self._end_beside(ready.stack.aclose())
                raise
            self._dropped["unhealthy"] += 1
            self._end_beside(ready.stack.aclose())
        return None

    def _drop(self, number: int, reason: DropReason | None = None) -> None:
        """End a pooled sandbox, whether it is ready or still under preparation."""
        if reason is not None:
            self._dropped[reason] += 1
        making, ready = self._making.pop(number, None), self._ready.pop(number, None)
        if making is not None and making.task is not None:
            making.task.cancel()
            self._end_beside(asyncio.gather(making.task, return_exceptions=True))
        if ready is not None:
            self._end_beside(ready.end())

    def _end_beside(self, ending: Awaitable[object]) -> None:
        self._endings.add(asyncio.ensure_future(ending))

    def _move(self, idle: frozenset[int]) -> None:
        """Move sandboxes under preparation to the idle CPUs; freeze them while there are none."""
        for number, making in list(self._making.items()):
            try:
                making.settle(idle, timeout_s=self._policy.prepare_timeout_s)
            except ExecutionFault as fault:
                _log.warning("a sandbox under preparation cannot be moved: %s", fault.detail)
                self._drop(number)
        self._wake.set()
