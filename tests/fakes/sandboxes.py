"""Containers that play a script: the stand-ins for `SandboxPort` and `Sandbox`."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from supervisor.domain.errors import ExecutionFault, Refusal
from supervisor.domain.sandbox.isolation import RegisteredRuntime
from supervisor.domain.sandbox.lock_content import FilterChain
from supervisor.domain.sandbox.locks import ThreadStatus
from supervisor.domain.sandbox.ports import ExitStatus, Sandbox
from supervisor.domain.sandbox.receipt import SandboxFacts
from tests.fakes.filters import LOCK_TWO, lock_one
from tests.fakes.installation import IMAGE
from tests.fakes.sandbox_facts import facts_as_asked, gvisor_as_asked, thread_under

__all__ = ["FakeSandbox", "FakeSandboxes", "Script"]

# A script plays the runner: it gets the sandbox and the index of the line that was sent to it.
Script = Callable[["FakeSandbox", int], Awaitable[None]]


class FakeSandbox:
    """One container; see `Sandbox`."""

    def __init__(self, container_id: str, image_id: str, script: Script, config: Mapping[str, Any]) -> None:
        self.config = config
        self.changed_facts: dict[str, Any] = {}
        self.guest_fault: ExecutionFault | None = None
        self.container_id = container_id
        self.image_id = image_id
        self.started_ns = time.monotonic_ns()
        self.placed: list[tuple[frozenset[int], bool]] = []
        self.spread_over: tuple[tuple[int, ...], ...] | None = None
        self.is_frozen = False
        self.cannot_be_placed = False
        self.allowed_bytes: int | None = None
        self.exit_status: ExitStatus | None = None
        self.lines: asyncio.Queue[tuple[bytes, int] | ExecutionFault] = asyncio.Queue()
        self.sent: list[bytes] = []
        self.cpu_ns: int | None = 0
        self.quotas: list[int] = []
        self.group_is_gone = False
        self.threads_before: tuple[ThreadStatus, ...] = (thread_under(1),)
        self.locked_later: tuple[ThreadStatus, ...] = ()
        self.threads_after: tuple[ThreadStatus, ...] = (thread_under(2), thread_under(2))
        self.filters: tuple[FilterChain, ...] | None = ((LOCK_TWO, lock_one()),) * 2
        self.filters_fault: ExecutionFault | None = None
        self.filters_asked = 0
        self._script = script
        self._tasks: list[asyncio.Task[None]] = []

    def say(self, event: dict[str, Any] | bytes) -> None:
        """Write one line."""
        line = event if isinstance(event, bytes) else json.dumps(event).encode("ascii")
        if self.cpu_ns is not None:
            self.cpu_ns += 1_000_000
        self.lines.put_nowait((line, time.monotonic_ns()))

    def end(self, fault: ExecutionFault, status: ExitStatus | None = None) -> None:
        """End by itself."""
        self.exit_status = status
        self.lines.put_nowait(fault)

    async def send(self, line: bytes) -> None:
        """See `Sandbox`."""
        self.sent.append(line)
        self._tasks.append(asyncio.create_task(self._play(len(self.sent) - 1)))

    async def _play(self, line_index: int) -> None:
        await self._script(self, line_index)

    async def receive(self) -> tuple[bytes, int]:
        """See `Sandbox`."""
        line = await self.lines.get()
        if isinstance(line, ExecutionFault):
            raise line
        return line

    async def listen(self, take: Callable[[bytes, int], bool]) -> None:
        """See `Sandbox`."""
        while not take(*await self.receive()):
            pass

    def thread_statuses(self) -> tuple[ThreadStatus, ...]:
        """See `Sandbox`."""
        return self.threads_after if self.sent else self.threads_before

    def refresh(self, facts: SandboxFacts) -> SandboxFacts:
        """See `Sandbox`."""
        seen = self._facts()
        return replace(facts, threads=seen.threads, cpu_quota_nano=seen.cpu_quota_nano)

    def _facts(self) -> SandboxFacts:
        facts = facts_as_asked(self.config, self.thread_statuses())
        if self.placed:
            cpus = tuple(sorted(self.placed[-1][0]))
            facts = replace(facts, threads=tuple(replace(thread, cpus_allowed=cpus) for thread in facts.threads))
        return replace(facts, **self.changed_facts)

    def allow_output(self, output_bytes: int) -> None:
        """See `Sandbox`."""
        self.allowed_bytes = output_bytes

    def place(self, cpus: frozenset[int], *, in_background: bool) -> None:
        """See `Sandbox`."""
        self._require_placeable()
        self.placed.append((cpus, in_background))

    def spread(self, cores: tuple[tuple[int, ...], ...]) -> None:
        """See `Sandbox`."""
        self.spread_over = cores

    def freeze(self) -> None:
        """See `Sandbox`."""
        self._require_placeable()
        self.is_frozen = True

    def thaw(self) -> None:
        """See `Sandbox`."""
        self._require_placeable()
        self.is_frozen = False

    def _require_placeable(self) -> None:
        if self.cannot_be_placed:
            raise ExecutionFault("limit_unenforceable", "the control group's CPUs cannot be set")

    async def observe(self, model_path: str, watched: tuple[str, ...]) -> SandboxFacts:
        """See `Sandbox`."""
        del model_path, watched
        return self._facts()

    async def read_filters(self) -> tuple[FilterChain, ...] | None:
        """See `Sandbox`."""
        self.filters_asked += 1
        if self.is_frozen:
            raise ExecutionFault("lock_missing", "a frozen thread cannot be stopped")
        if self.filters_fault is not None:
            raise self.filters_fault
        return self.filters

    async def watch_guest(self) -> None:
        """See `Sandbox`."""
        if self.guest_fault is not None:
            raise self.guest_fault
        self.changed_facts = {"gvisor": gvisor_as_asked()} | self.changed_facts

    def cpu_time_ns(self) -> int | None:
        """See `Sandbox`."""
        return self.cpu_ns

    def set_cpu_quota(self, nano_cpus: int, period_us: int) -> bool:
        """See `Sandbox`."""
        assert period_us > 0
        self.quotas.append(nano_cpus)
        return not self.group_is_gone

    def throttling(self) -> tuple[int, int] | None:
        """See `Sandbox`."""
        return (0, 0) if self.cpu_ns is not None else None

    async def stop(self) -> None:
        """End the script."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class FakeSandboxes:
    """Makes containers that play a script; see `SandboxPort`."""

    def __init__(self, script: Script) -> None:
        self.cgroup_driver = "cgroupfs"
        self.script = script
        self.up = True
        self.up_for_open = True
        self.on_open: Callable[[FakeSandbox], None] | None = None
        self.image_there = True
        self.before_is_up: Callable[[], Awaitable[object]] | None = None
        self.before_require_image: Callable[[], Awaitable[object]] | None = None
        self.image_id = IMAGE
        self.registered = {"runc": RegisteredRuntime("runc", (), is_installed=True)}
        self.names: list[str] = []
        self.opened: list[FakeSandbox] = []
        self.configs: list[dict[str, Any]] = []
        self.destroyed: list[str] = []
        self.reaped = 0

    async def require_image(self, image_id: str) -> None:
        """See `SandboxPort`."""
        if self.before_require_image is not None:
            await self.before_require_image()
        if not self.up:
            raise Refusal("engine_unavailable", "the container engine does not answer")
        if not self.image_there:
            raise Refusal("image_missing", f"image {image_id} is not there")

    async def runtimes(self) -> Mapping[str, RegisteredRuntime]:
        """See `SandboxPort`."""
        if not self.up:
            raise Refusal("engine_unavailable", "the container engine does not answer")
        return self.registered

    async def is_up(self) -> bool:
        """See `SandboxPort`."""
        if self.before_is_up is not None:
            await self.before_is_up()
        return self.up

    async def reap(self) -> int:
        """See `SandboxPort`."""
        self.reaped += 1
        return 0

    @asynccontextmanager
    async def open(self, name: str, config: dict[str, Any], *, model: str, output_bytes: int) -> AsyncIterator[Sandbox]:
        """See `SandboxPort`."""
        assert name not in self.names
        assert output_bytes > 0
        assert model
        self.names.append(name)
        if not self.up or not self.up_for_open:
            raise ExecutionFault("engine_unavailable", "the container engine does not answer")
        sandbox = FakeSandbox(f"{len(self.opened):064x}", self.image_id, self.script, config)
        if self.on_open is not None:
            self.on_open(sandbox)
        self.opened.append(sandbox)
        self.configs.append(config)
        try:
            yield sandbox
        finally:
            # The port promises a clean-up that outlives the cancellation which caused it.
            stopping = asyncio.ensure_future(sandbox.stop())
            while not stopping.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(stopping)
            self.destroyed.append(sandbox.container_id)
