"""Accepts, watches, finds, cancels and recovers the executions that the API shows."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from contracts.api.responses import RunList, RunSummary, RunView
from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord, Statement
from contracts.execution.run_request import RunRequest
from contracts.wire.envelope import Envelope, decode_base64
from supervisor.domain.access.caller import Caller
from supervisor.domain.access.limits import UnderWay, require_within
from supervisor.domain.access.usage import Usage, day_of
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.planning.ports import InstallationPort
from supervisor.domain.policies.policy import GvisorTier
from supervisor.domain.records.ports import LedgerPort, StartedEntry, StoredRun
from supervisor.domain.records.recording import abort_conclusion, format_time
from supervisor.domain.sandbox.isolation import require_registered
from supervisor.domain.sandbox.ports import ModelStorePort, SandboxPort
from supervisor.domain.scheduling.cores import demand_of
from supervisor.execution.recorder import Recorder
from supervisor.execution.run import Run, view_of_record
from supervisor.execution.scheduler import Scheduler
from supervisor.execution.service import ExecutionService
from supervisor.tasks import TaskSet

__all__ = ["RunBook", "make_execution_id"]

_log = logging.getLogger(__name__)

# Destroying a container took 0.04 s and storing a record a few milliseconds. A busy container engine may need seconds.
CLEAN_UP_S = 10.0


def make_execution_id(now_ms: int) -> str:
    """Return a unique id that sorts by time: 48 bits of milliseconds and 80 random bits."""
    return f"exec_{now_ms:012x}{secrets.token_hex(10)}"


def _record_of(envelope: bytes) -> MetricsRecord:
    payload = decode_base64(Envelope.parse(envelope).payload)
    return Statement.parse(payload).predicate


def _stop_unwatched(accepting: "asyncio.Task[Run | RunView]") -> None:
    if accepting.cancelled() or accepting.exception() is not None:
        return
    run = accepting.result()
    if isinstance(run, Run) and run.watchers == 0 and not run.keep:
        run.stop("cancelled")


class RunBook:
    """The executions of one supervisor."""

    def __init__(
        self,
        *,
        service: ExecutionService,
        recorder: Recorder,
        installation: InstallationPort,
        sandboxes: SandboxPort,
        models: ModelStorePort,
        ledger: LedgerPort,
        scheduler: Scheduler,
        gvisor: GvisorTier,
    ) -> None:
        self._service = service
        self._recorder = recorder
        self._installation = installation
        self._sandboxes = sandboxes
        self._models = models
        self._ledger = ledger
        self._scheduler = scheduler
        self._gvisor = gvisor
        self._active: dict[str, Run] = {}
        self._tasks = TaskSet()
        self._acceptances = TaskSet()
        self._beginning = asyncio.Lock()
        self._closing = False

    async def recover(self) -> int:
        """Record every execution that an earlier supervisor left unfinished as aborted, and return their number.

        Limits of a day count from here on what records of that day say.
        """
        await self._sandboxes.reap()
        left_behind = await self._ledger.unfinished()
        for stored in left_behind:
            await self._service.store(
                stored.execution_id,
                stored.plan,
                abort_conclusion(),
                seq=stored.seq,
                accepted_at=stored.accepted_at,
                finished_at=datetime.now(UTC),
            )
            _log.warning(
                "an execution of an earlier supervisor was recorded as aborted",
                extra={"execution_id": stored.execution_id},
            )
        today = day_of(format_time(datetime.now(UTC)))
        self._service.usage.begin(today, await self._ledger.usage_on(today))
        return len(left_behind)

    def plan(self, request: RunRequest, caller: Caller) -> ExecutionPlan:
        """Return the plan that a caller's request would get.

        Raises:
            Refusal: the request cannot be planned, or could never get a lease.
        """
        plan = plan_execution(request, self._installation.read(), role=caller.role, caller=caller.name)
        self._scheduler.require_possible(demand_of(plan))
        return plan

    async def accept(self, request: RunRequest, idempotency_key: str | None, caller: Caller) -> Run | RunView:
        """Accept a request and begin its execution, unless its key already has an execution.

        Returns:
            The running execution; or its final view, when an equal request began it and it has ended.

        Raises:
            Refusal: nothing was accepted.
            StorageError: the acceptance could not be made durable, so nothing was accepted.
        """
        # Once begun, acceptance is carried through, so that a caller who disconnects cannot leave it half done.
        task = self._acceptances.begin(self._accept(request, idempotency_key, caller))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_stop_unwatched)
            raise

    async def _accept(self, request: RunRequest, key: str | None, caller: Caller) -> Run | RunView:
        digest = request.canonical_digest()
        known = await self._known(caller, key, digest)
        if known is not None:
            return known
        plan = self.plan(request, caller)
        self._models.locate(plan.model)
        # Outside the lock: a container engine that hangs must not make callers wait for each other's deadlines.
        if not self._service.is_prepared_for(plan):
            await self._sandboxes.require_image(plan.runtime_image)
        if plan.isolation == "gvisor":
            require_registered(self._gvisor, await self._sandboxes.runtimes())
        async with self._beginning:
            # An equal request may have begun meanwhile, and `close` may have been called.
            known = await self._known(caller, key, digest)
            if known is not None:
                return known
            return await self._begin(request, plan, key, caller)

    async def _known(self, caller: Caller, key: str | None, digest: str) -> Run | RunView | None:
        stored = None if key is None else await self._ledger.find_by_key(caller.name, key)
        if stored is None:
            self._require_open()
            return None
        if stored.request_digest != digest:
            detail = "this Idempotency-Key was used with a different request; use a new key for a new request"
            raise Refusal("idempotency_key_reused", detail, field="Idempotency-Key")
        run = self._active.get(stored.execution_id)
        # Read again: the execution may have ended after the look-up by key and before the one among the active.
        return run or await self._repeat(await self._stored(stored.execution_id, caller))

    def _require_open(self) -> None:
        if self._closing:
            raise Refusal("shutting_down", "the supervisor is shutting down and accepts no new executions")

    async def _begin(self, request: RunRequest, plan: ExecutionPlan, key: str | None, caller: Caller) -> Run:
        self._require_within_limits(plan, caller)
        execution_id = make_execution_id(time.time_ns() // 1_000_000)
        ticket = self._scheduler.enqueue(demand_of(plan), caller.name)
        try:
            accepted_at = datetime.now(UTC)
            run = Run(execution_id, plan, request, accepted_at, ticket)
            # A caller with a key can repeat the request after a broken connection, so the execution continues.
            run.keep = key is not None
            entry = StartedEntry(
                execution_id,
                plan,
                request.prompt_bytes.decode("utf-8"),
                accepted_at,
                key,
                request.canonical_digest(),
                lambda seq: self._recorder.seal_started(execution_id, plan, seq=seq, accepted_at=accepted_at),
            )
            # Registered before the entry is durable: a repeated request finds the entry as soon as it is stored.
            self._active[execution_id] = run
            run.seq = await self._ledger.append_started(entry)
        except BaseException:
            self._active.pop(execution_id, None)
            ticket.cut_short = True
            ticket.give_back()
            raise
        self._tasks.begin(self._drive(run), name=f"execution-{execution_id}")
        return run

    def _require_within_limits(self, plan: ExecutionPlan, caller: Caller) -> None:
        own = [run.plan for run in self._active.values() if run.plan.caller == caller.name]
        under_way = UnderWay(len(own), sum(each.limits.max_tokens for each in own))
        used = self.used_today(caller.name)
        require_within(caller, used, under_way, max_tokens=plan.limits.max_tokens, now=datetime.now(UTC))

    def used_today(self, caller: str) -> Usage:
        """Return what the executions of a caller that ended today used, by the caller's name."""
        return self._service.usage.of(caller, day_of(format_time(datetime.now(UTC))))

    async def _drive(self, run: Run) -> None:
        try:
            await self._service.execute(run)
        finally:
            self._active.pop(run.execution_id, None)
            run.give_up()

    @asynccontextmanager
    async def watch(self, run: Run) -> AsyncIterator[Run]:
        """Count a waiting caller of an execution; when the last such caller leaves, the execution is cancelled.

        An execution that was requested asynchronously or with an Idempotency-Key continues.
        """
        run.watchers += 1
        try:
            yield run
        finally:
            run.watchers -= 1
            if run.watchers == 0 and not run.keep:
                run.stop("cancelled")

    async def cancel(self, execution_id: str, caller: Caller) -> RunView:
        """Cancel an execution and wait for its record.

        Raises:
            Refusal: ``execution_not_found``; or ``already_finished``, when the execution ended before it could be
                cancelled.
            PermissionRefusal: it belongs to another caller.
        """
        run = self._active.get(execution_id)
        if run is None:
            stored = await self._stored(execution_id, caller)
            caller.require_cancellable(stored.plan.caller)
            view = await self._view_of_stored(stored)
        else:
            caller.require_cancellable(run.plan.caller)
            run.stop("cancelled")
            view = await run.result()
            if view.status == "cancelled":
                return view
        raise Refusal("already_finished", f"the execution has already ended as {view.status}")

    async def find(self, execution_id: str, caller: Caller) -> RunView:
        """Return the current view of one execution.

        Raises:
            Refusal: ``execution_not_found``; there is none, or the caller may not know of it.
        """
        run = self._active.get(execution_id)
        if run is None:
            return await self._view_of_stored(await self._stored(execution_id, caller))
        caller.require_visible(run.plan.caller)
        return run.view()

    async def ended(self, execution_id: str, caller: Caller) -> tuple[StoredRun, bytes]:
        """Return an ended execution and its signed envelope.

        Raises:
            Refusal: ``execution_not_found`` or ``record_not_ready``.
        """
        stored = await self._stored(execution_id, caller)
        if stored.envelope is None:
            raise Refusal("record_not_ready", "the record is made when the execution ends; ask again then")
        return stored, stored.envelope

    async def page(self, caller: Caller, *, before: str | None, limit: int) -> RunList:
        """Return a page of the executions that a caller may see, newest first.

        Raises:
            Refusal: ``execution_not_found``, no execution has the id in ``before``.
        """
        if before is not None:
            await self._stored(before, caller)
        rows = await self._ledger.page(before=before, limit=limit + 1, caller=caller.sees_only)
        summaries = tuple(self._summary(row) for row in rows[:limit])
        return RunList(runs=summaries, next=summaries[-1].execution_id if len(rows) > limit else None)

    async def close(
        self, drain_s: float, clean_up_s: float = CLEAN_UP_S, *, enough: asyncio.Event | None = None
    ) -> None:
        """Stop accepting, drain executions, then end the remaining ones; each gets its record.

        An execution that cannot be recorded even then (a full disk) is left to the next supervisor's `recover`.

        Args:
            drain_s: seconds that executions get to finish.
            clean_up_s: seconds for destroying sandboxes and storing records.
            enough: event that ends the drain early.
        """
        self._closing = True
        # After this wait, each request in acceptance is either refused or among the active executions.
        await self._acceptances.wait(timeout_s=clean_up_s)
        await self._tasks.wait(timeout_s=drain_s, enough=enough)
        for run in list(self._active.values()):
            run.stop("aborted")
        await self._tasks.wait(timeout_s=clean_up_s)
        for task in list(self._tasks):
            task.cancel()
        await self._tasks.wait(timeout_s=clean_up_s)

    async def _stored(self, execution_id: str, caller: Caller) -> StoredRun:
        stored = await self._ledger.find(execution_id)
        if stored is None:
            raise Refusal("execution_not_found", "no execution has this id")
        caller.require_visible(stored.plan.caller)
        return stored

    async def _repeat(self, stored: StoredRun) -> RunView:
        view = await self._view_of_stored(stored)
        if view.output_absent is not None and view.status == "completed":
            detail = (
                f"{view.execution_id} was executed for this Idempotency-Key, and its text was erased as a policy says "
                f"(admission.toml, texts.keep_days); its record is at {view.record}. To execute again, use a new key"
            )
            raise Refusal("text_erased", detail, field="Idempotency-Key")
        return view

    async def _view_of_stored(self, stored: StoredRun) -> RunView:
        if stored.envelope is None:
            # The execution ended between two look-ups, or its record waits for space on the disk.
            raise Refusal("storage_full", "the execution has ended but its record is not stored yet; ask again")
        return view_of_record(_record_of(stored.envelope), stored.output, is_erased=stored.are_texts_erased)

    def _summary(self, stored: StoredRun) -> RunSummary:
        run = self._active.get(stored.execution_id)
        status = run.status if run else (stored.outcome or "running")
        return RunSummary.model_validate(
            {
                "execution_id": stored.execution_id,
                "engine_version": stored.plan.engine_version,
                "status": status,
                "model": stored.plan.model.name,
                "accepted_at": format_time(stored.accepted_at),
                "plan_digest": stored.plan.canonical_digest(),
            }
        )
