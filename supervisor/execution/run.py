"""One execution until its record is durable: its state, its text so far, and its watchers.

Watchers read one shared list at their own pace. A slow watcher costs no memory and never delays the execution.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

from contracts.api.responses import RunStatus, RunView, StreamToken
from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.run_request import RunRequest
from supervisor.domain.errors import StorageError
from supervisor.domain.records.recording import format_time
from supervisor.execution.scheduler import Ticket

__all__ = ["Run", "view_of_record"]


def view_of_record(record: MetricsRecord, output: str | None, *, is_erased: bool = False) -> RunView:
    """Return the API view of an ended execution."""
    return RunView(
        execution_id=record.execution_id,
        engine_version=record.engine_version,
        status=record.outcome,
        model=record.plan.model.name,
        accepted_at=record.accepted_at,
        plan_digest=record.plan_digest,
        metrics=record.metrics,
        output=output,
        output_absent="erased_by_policy" if is_erased else None,
        reason=record.reason,
        container_id=None if record.sandbox is None else record.sandbox.container_id,
        queue_position=None,
        record=f"/v1/runs/{record.execution_id}/record",
    )


class Run:
    """One accepted execution until its record is durable."""

    def __init__(
        self, execution_id: str, plan: ExecutionPlan, request: RunRequest, accepted_at: datetime, ticket: Ticket
    ) -> None:
        self.execution_id = execution_id
        # The ledger assigns the number when the execution is accepted.
        self.seq = 0
        self.plan = plan
        self.plan_digest = plan.canonical_digest()
        self.request = request
        self.accepted_at = accepted_at
        self.ticket = ticket
        self.container_id: str | None = None
        self.started = False
        self.stop_code: str | None = None
        self.keep = False
        self.watchers = 0
        self._attempt: asyncio.Task[None] | None = None
        self._tokens: list[str] = []
        self.rest = ""
        """Text that was held back until the end of the answer."""
        self._final: RunView | None = None
        self._storage_fault: StorageError | None = None
        self._wake = asyncio.Event()
        # A separate event: a caller that waits only for the end is not woken for every token.
        self._ended = asyncio.Event()

    @property
    def status(self) -> RunStatus:
        """The current status of the execution."""
        if self._final is not None:
            return self._final.status
        return "running" if self.started else "queued"

    def add_token(self, text: str) -> None:
        """Publish one token."""
        self._tokens.append(text)
        self._notify()

    def add_rest(self, text: str) -> None:
        """Publish the text that was held back until the end; the last event of a stream carries it."""
        self.rest = text

    def finish(self, final: RunView) -> None:
        """Publish the final view; the record is durable."""
        self._final = final
        self._ended.set()
        self._notify()

    def report_storage_fault(self, fault: StorageError) -> None:
        """Tell the watchers that the record could not be stored yet."""
        self._storage_fault = fault
        self._ended.set()
        self._notify()

    def give_up(self) -> None:
        """Release the watchers when no task works on this execution any more; harmless after `finish`."""
        if self._final is None and self._storage_fault is None:
            detail = "the supervisor stopped before storing the record; its next start records the execution as aborted"
            self.report_storage_fault(StorageError("shutting_down", detail))

    async def tokens(self) -> AsyncIterator[StreamToken]:
        """Yield every token from the first, until the execution ends."""
        position = 0
        while True:
            while position < len(self._tokens):
                yield StreamToken(index=position, text=self._tokens[position])
                position += 1
            if self._final is not None or self._storage_fault is not None:
                return
            await self._wake.wait()

    async def result(self) -> RunView:
        """Wait for the end and return the final view.

        Raises:
            StorageError: the execution ended but its record could not be stored yet.
        """
        await self._ended.wait()
        if self._final is not None:
            return self._final
        if self._storage_fault is None:
            message = "an execution ended with neither a final view nor a storage fault"
            raise RuntimeError(message)
        raise self._storage_fault

    def view(self) -> RunView:
        """Return the current view of the execution."""
        if self._final is not None:
            return self._final
        return RunView(
            execution_id=self.execution_id,
            engine_version=self.plan.engine_version,
            status=self.status,
            model=self.plan.model.name,
            accepted_at=format_time(self.accepted_at),
            plan_digest=self.plan_digest,
            metrics=None,
            output="".join(self._tokens) + self.rest,
            reason=None,
            container_id=self.container_id,
            queue_position=self.ticket.position,
            record=None,
        )

    def follow(self, attempt: asyncio.Task[None]) -> None:
        """Remember the task that does the work, so that `stop` can cancel it; an earlier `stop` cancels it at once."""
        self._attempt = attempt
        if self.stop_code is not None:
            attempt.cancel()

    def stop(self, code: str) -> None:
        """End the execution early; its outcome will be ``code`` (``cancelled`` or ``aborted``)."""
        if self.stop_code is not None:
            return
        self.stop_code = code
        if self._attempt is not None:
            self._attempt.cancel()

    def _notify(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()
