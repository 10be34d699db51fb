"""The orchestration: runs one accepted execution from its lease to a durable, signed record."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime

from contracts.api.responses import RunView
from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.runner_protocol import encode_command
from contracts.wire.units import NANO_CPUS_PER_CPU, NS_PER_MS
from supervisor.domain.access.usage import DailyUsage, day_of, usage_of
from supervisor.domain.errors import ExecutionFault, StorageError
from supervisor.domain.planning.prompts import build_job
from supervisor.domain.policies.policy import Policies
from supervisor.domain.power.metering import Metering, MeteringPort
from supervisor.domain.records.ports import FinalEntry, LedgerPort
from supervisor.domain.records.recording import Conclusion
from supervisor.domain.sandbox.ports import Sandbox
from supervisor.domain.sandbox.receipt import describe_difference
from supervisor.domain.sandbox.recipe import recipe_of
from supervisor.domain.sandbox.transcript import Transcript
from supervisor.execution.conclusion import UNKNOWN, Observed, conclude
from supervisor.execution.pool import SandboxPool, make_sandbox_name
from supervisor.execution.preparation import FreshSandbox, PreparedSandbox, Preparer, read_event
from supervisor.execution.recorder import Recorder
from supervisor.execution.run import Run, view_of_record
from supervisor.power.sampler import PowerLimit, PowerSampler

__all__ = ["ExecutionService"]

_log = logging.getLogger(__name__)

# A full disk may get free space while the supervisor runs; the record waits in memory until then.
STORE_RETRY_S = 2.0
# Making a record durable takes about 4 ms, and a third more while its sandbox is being ended. A disk may also hang.
RECORD_HEAD_START_S = 0.1


class ExecutionService:
    """Executes plans."""

    def __init__(
        self,
        *,
        preparer: Preparer,
        pool: SandboxPool,
        ledger: LedgerPort,
        recorder: Recorder,
        policies: Policies,
        metering: MeteringPort,
        store_retry_s: float = STORE_RETRY_S,
    ) -> None:
        self._preparer = preparer
        self._pool = pool
        self._ledger = ledger
        self._recorder = recorder
        self._policies = policies
        self._metering = metering
        self._store_retry_s = store_retry_s
        self.unrecorded = 0
        self.usage = DailyUsage()

    def is_prepared_for(self, plan: ExecutionPlan) -> bool:
        """Return whether a ready sandbox fits a plan; everything that the plan needs is then installed."""
        return self._pool.has_ready(recipe_of(plan))

    @property
    def start_obstacle(self) -> str | None:
        """Why the next container would not start; None means that nothing is known against it."""
        return self._preparer.starts.obstacle(time.monotonic())

    async def execute(self, run: Run) -> None:
        """Run one execution to its end; never raises, and returns only when its record is durable."""
        observed = Observed(Transcript(run.plan))
        # Holds the lease of cores and, on top of it, the sandbox.
        held = AsyncExitStack()
        held.push_async_exit(run.ticket)
        attempt = asyncio.create_task(self._attempt(run, observed, held), name=f"attempt-{run.execution_id}")
        run.follow(attempt)
        await asyncio.wait({attempt})
        recorded = asyncio.Event()
        ending = asyncio.create_task(_end_after(recorded, held), name=f"ending-{run.execution_id}")
        if attempt.cancelled() or attempt.exception() is not None:
            # The sandbox may still be computing, so its end does not wait for the record.
            recorded.set()
        try:
            conclusion = conclude(run, observed, attempt)
        except Exception:  # noqa: BLE001 - the task's boundary: every execution gets a record
            _log.exception("an execution cannot be concluded", extra={"execution_id": run.execution_id})
            conclusion = UNKNOWN
        # Before the lease is given back: the task that ends the sandbox has not begun yet.
        run.ticket.cut_short = run.stop_code is not None
        try:
            await self._record(run, conclusion)
        finally:
            recorded.set()
            await asyncio.wait({ending})
            if not ending.cancelled() and (fault := ending.exception()) is not None:
                _log.error("ending a sandbox failed: %r", fault, extra={"execution_id": run.execution_id})

    async def store(
        self,
        execution_id: str,
        plan: ExecutionPlan,
        conclusion: Conclusion,
        *,
        seq: int,
        accepted_at: datetime,
        finished_at: datetime,
    ) -> RunView:
        """Sign the record of one execution, make it durable and return the execution's API view.

        Raises:
            StorageError: the record could not be stored; no part of it remains.
        """
        record, envelope = self._recorder.record(
            execution_id, plan, conclusion, seq=seq, accepted_at=accepted_at, finished_at=finished_at
        )
        day, used = day_of(record.finished_at), usage_of(record)
        final = FinalEntry(execution_id, conclusion.outcome, envelope, conclusion.output, day, used)
        await self._ledger.append_final(final)
        self.usage.add(plan.caller, day, used)
        return view_of_record(record, conclusion.output)

    async def _attempt(self, run: Run, observed: Observed, held: AsyncExitStack) -> None:
        lease = await run.ticket.wait()
        observed.cores, observed.cpus = tuple(core.cpus for core in lease.cores), lease.cpus
        run.started = True
        # Metering lasts until the sandbox has ended, because its processes may be on a GPU until then.
        observed.metering = metering = await held.enter_async_context(self._metering.metering_for(run.plan))
        deadline = asyncio.timeout(run.plan.limits.timeout_s)
        try:
            async with deadline:
                await self._run_in_sandbox(run, observed, held, metering)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            detail = f"the execution exceeded its time limit of {run.plan.limits.timeout_s} s"
            raise ExecutionFault("time_limit_exceeded", detail) from error

    async def _run_in_sandbox(self, run: Run, observed: Observed, held: AsyncExitStack, metering: Metering) -> None:
        recipe = recipe_of(run.plan)
        warm = await held.enter_async_context(self._pool.take(recipe, observed.cpus))
        if warm is not None:
            observed.start = "warm"
            observed.age_ms = max(1, (time.monotonic_ns() - warm.sandbox.started_ns) // NS_PER_MS)
            await self._use(run, observed, metering, warm, warm)
            return
        name = make_sandbox_name(recipe.isolation)
        fresh = await held.enter_async_context(self._preparer.open(name, recipe, observed.cpus))
        await self._use(run, observed, metering, fresh, None)

    async def _use(
        self,
        run: Run,
        observed: Observed,
        metering: Metering,
        fresh: FreshSandbox,
        prepared: PreparedSandbox | None,
    ) -> None:
        sandbox = fresh.sandbox
        observed.sandbox = sandbox
        run.container_id = sandbox.container_id
        sandbox.allow_output(run.plan.limits.output_bytes)
        limit = self._limit_of(run.plan, metering, reserved_cpus=len(observed.cpus))
        template = metering.template(
            reserved_cpus=len(observed.cpus),
            interval_ms=None if limit is None else limit.governor.interval_ns // NS_PER_MS,
        )
        observed.power = PowerSampler(metering.port, template, sandbox, limit=limit, is_warm=prepared is not None)
        with self._preparer.requiring_model(fresh):
            async with observed.power.running():
                prepared = prepared or await self._preparer.load(fresh)
                observed.transcript.accept_ready(prepared.ready)
                observed.isolation = receipt = self._preparer.judge(prepared, run.plan, observed.cpus)
                if receipt.difference:
                    raise ExecutionFault("isolation_mismatch", describe_difference(receipt))
                sandbox.spread(observed.cores)
                await self._generate(run, sandbox, observed, observed.power)

    async def _generate(self, run: Run, sandbox: Sandbox, observed: Observed, power: PowerSampler) -> None:
        job = encode_command(build_job(run.request, run.plan))
        transcript = observed.transcript
        observed.job_sent = True
        started_ns = power.begin_job()
        await sandbox.send(job)

        def take(line: bytes, at_ns: int) -> bool:
            event = read_event(line)
            if at_ns < started_ns:
                raise ExecutionFault("runner_failed", "the runner broke its protocol: it sent an event before the job")
            text = transcript.accept(event, at_ns - started_ns)
            if event.type == "prompt":
                power.mark("prefill")
            if event.type == "token":
                run.add_token(text)
            elif text:
                run.add_rest(text)
            return transcript.finished

        await sandbox.listen(take)
        power.mark("end")

    def _limit_of(self, plan: ExecutionPlan, metering: Metering, *, reserved_cpus: int) -> PowerLimit | None:
        if plan.limits.max_watts is None:
            return None
        policy = self._policies.power.governor
        governor = metering.build_governor(
            policy, max_watts=plan.limits.max_watts, cores=plan.scheduling.cores, reserved_cpus=reserved_cpus
        )
        return PowerLimit(
            governor,
            quota_nano=plan.scheduling.cores * NANO_CPUS_PER_CPU,
            period_us=policy.period_us,
            is_measured=metering.port.source != "model",
            gpu_limit_mw=metering.gpu_limit_mw,
        )

    async def _record(self, run: Run, conclusion: Conclusion) -> None:
        finished_at = datetime.now(UTC)
        waiting = False
        while True:
            try:
                view = await self.store(
                    run.execution_id,
                    run.plan,
                    conclusion,
                    seq=run.seq,
                    accepted_at=run.accepted_at,
                    finished_at=finished_at,
                )
            except StorageError as fault:
                if not waiting:
                    waiting = True
                    self.unrecorded += 1
                    _log.error("a record cannot be stored: %s", fault.code, extra={"execution_id": run.execution_id})
                    run.report_storage_fault(fault)
                await asyncio.sleep(self._store_retry_s)
            except Exception:  # noqa: BLE001 - the task's boundary: a record without numbers is still due
                _log.exception("a record cannot be made", extra={"execution_id": run.execution_id})
                if conclusion is UNKNOWN:
                    self.unrecorded += not waiting
                    detail = "the record could not be made; the supervisor's log says why"
                    run.report_storage_fault(StorageError("internal_error", detail))
                    return
                conclusion = UNKNOWN
            else:
                self.unrecorded -= waiting
                run.finish(view)
                return


async def _end_after(recorded: asyncio.Event, held: AsyncExitStack) -> None:
    """End a sandbox after its record is stored, or after `RECORD_HEAD_START_S`.

    The caller waits for the record, and ending the sandbox would take CPU time from it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(RECORD_HEAD_START_S):
            await recorded.wait()
    await held.aclose()
