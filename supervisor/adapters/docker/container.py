"""One running container: its lines, what the kernel shows of it, and how it ended."""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from supervisor.adapters.docker.frames import AttachedStream
from supervisor.adapters.kernel.cgroup import find_cpu_counter, find_cpu_quota, read_cpu_time_ns, read_limits
from supervisor.adapters.kernel.container_facts import read_facts
from supervisor.adapters.kernel.filter_programs import read_filter_chains
from supervisor.adapters.kernel.first_process import FirstProcess
from supervisor.adapters.kernel.gvisor_facts import GvisorGuest
from supervisor.adapters.kernel.mapped_files import MappedFileReader
from supervisor.adapters.kernel.placement import Placement, keep_apart
from supervisor.adapters.kernel.proc_status import read_thread_statuses
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.ending import fault_of_end
from supervisor.domain.sandbox.lock_content import FilterChain
from supervisor.domain.sandbox.locks import ThreadStatus
from supervisor.domain.sandbox.ports import ExitStatus
from supervisor.domain.sandbox.receipt import SandboxFacts

__all__ = ["DockerSandbox", "StartedContainer"]

_log = logging.getLogger(__name__)

# What the kernel says of a file of a control group that has gone.
GONE = {errno.ENOENT, errno.ENODEV}
# On an idle machine it takes a millisecond; a thread that waits for a processor takes longer to stop.
FILTERS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class StartedContainer:
    """What the container engine says of a container that it has started."""

    pid: int
    image_id: str
    host_config: Mapping[str, Any]
    process: FirstProcess | None
    """None: it cannot be held from here, or has ended."""
    placement: Placement | None
    """None: its control group cannot be seen."""
    at_ns: int
    """When the container engine had started it, on the monotonic clock."""


class DockerSandbox:
    """One running container."""

    def __init__(
        self,
        container_id: str,
        started: StartedContainer,
        stream: AttachedStream,
        *,
        model: str,
        ask_exit_status: Callable[[str], Awaitable[ExitStatus | None]],
        mapped_files: MappedFileReader,
    ) -> None:
        self.container_id = container_id
        self.image_id = started.image_id
        self.started_ns = started.at_ns
        self.exit_status: ExitStatus | None = None
        self._model = model
        self._ask_exit_status = ask_exit_status
        self._mapped_files = mapped_files
        self._stream = stream
        self._started = started
        # Found while the first process lives.
        self._cpu_counter = find_cpu_counter(started.pid)
        self._cpu_quota = find_cpu_quota(started.pid)
        self._lines_sent = 0
        self._guest: GvisorGuest | None = None
        self._is_over = False

    async def send(self, line: bytes) -> None:
        """See ``ports.Sandbox``."""
        self._lines_sent += 1
        try:
            await self._stream.send(line)
        except ConnectionError as error:
            # This line has not reached it.
            self._lines_sent -= 1
            raise await self._why_it_ended() from error

    async def receive(self) -> tuple[bytes, int]:
        """See ``ports.Sandbox``."""
        line = await self._stream.next_line()
        if line is None:
            raise await self._why_it_ended()
        return line

    async def listen(self, take: Callable[[bytes, int], bool]) -> None:
        """See ``ports.Sandbox``."""
        if not await self._stream.listen(take):
            raise await self._why_it_ended()

    async def _why_it_ended(self) -> ExecutionFault:
        self.exit_status = await self._ask_exit_status(self.container_id)
        if self.exit_status is None:
            return ExecutionFault(
                "engine_unavailable", "the container's stream ended and the container engine does not answer"
            )
        # The first line is the set-up, the second is the job.
        before_job = self._lines_sent <= 1
        return fault_of_end(self.exit_status, self._stream.stderr_tail, model=self._model, before_job=before_job)

    def thread_statuses(self) -> tuple[ThreadStatus, ...]:
        """See ``ports.Sandbox``."""
        try:
            return read_thread_statuses(self._started.pid)
        except ValueError as error:
            raise ExecutionFault("lock_missing", f"the job was not sent: {error}") from error

    async def watch_guest(self) -> None:
        """See ``ports.Sandbox``."""
        opening = asyncio.ensure_future(asyncio.to_thread(GvisorGuest, self._started.pid, self.container_id))
        # A cancellation must not leave behind what the thread is about to open.
        opening.add_done_callback(self._take_guest)
        try:
            await asyncio.shield(opening)
        except (OSError, ValueError) as error:
            raise _unseen(error) from error

    def _take_guest(self, opened: "asyncio.Future[GvisorGuest]") -> None:
        if opened.exception() is None:
            self._guest = opened.result()
            if self._is_over:
                self._guest.close()

    def let_go(self) -> None:
        """Give back what watching took."""
        self._is_over = True
        if self._guest is not None:
            self._guest.close()

    async def observe(self, model_path: str, watched: tuple[str, ...]) -> SandboxFacts:
        """See ``ports.Sandbox``."""
        read = partial(read_facts, self._started.pid, watched=watched) if self._guest is None else self._guest.facts
        look = partial(
            read,
            image_id=self.image_id,
            model_path=model_path,
            engine=self._started.host_config,
            mapped=self._mapped_files,
        )
        try:
            return await asyncio.to_thread(look)
        except ValueError as error:
            raise ExecutionFault("isolation_mismatch", f"the kernel's words are not understood: {error}") from error
        except OSError as error:
            raise _unseen(error) from error

    async def read_filters(self) -> tuple[FilterChain, ...] | None:
        """See ``ports.Sandbox``."""
        try:
            return await asyncio.to_thread(read_filter_chains, self._started.pid, timeout_s=FILTERS_TIMEOUT_S)
        except OSError as error:
            # Of PTRACE_SECCOMP_GET_FILTER alone: this supervisor may not. Nothing in a sandbox can bring that about.
            if error.errno == errno.EACCES:
                return None
            detail = f"the job was not sent: the kernel does not show the sandbox's filters ({error.strerror})"
            raise ExecutionFault("lock_missing", detail) from error

    def refresh(self, facts: SandboxFacts) -> SandboxFacts:
        """See ``ports.Sandbox``."""
        quota_nano = read_limits(self._started.pid).cpu_quota_nano
        return replace(facts, threads=self.thread_statuses(), cpu_quota_nano=quota_nano)

    def allow_output(self, output_bytes: int) -> None:
        """See ``ports.Sandbox``."""
        self._stream.allow(output_bytes)

    def place(self, cpus: frozenset[int], *, in_background: bool) -> None:
        """See ``ports.Sandbox``."""
        self._move(lambda placement: placement.place(cpus, in_background=in_background))

    def spread(self, cores: tuple[tuple[int, ...], ...]) -> None:
        """See ``ports.Sandbox``."""
        if self._guest is not None:
            # The host sees the threads of gVisor's kernel, and those are not the guest's.
            return
        try:
            keep_apart(self._started.pid, cores)
        except OSError as error:
            # It runs all the same, now and then slower.
            _log.warning("the threads of a sandbox cannot be kept apart: %s%s", type(error).__name__, _nice_hint(error))

    def freeze(self) -> None:
        """See ``ports.Sandbox``."""
        self._move(Placement.freeze)

    def thaw(self) -> None:
        """See ``ports.Sandbox``."""
        self._move(Placement.thaw)

    def _move(self, change: Callable[[Placement], None]) -> None:
        placement = self._started.placement
        if placement is None:
            raise _unplaced("it cannot be seen")
        try:
            change(placement)
        except OSError as error:
            raise _unplaced(type(error).__name__) from error

    def cpu_time_ns(self) -> int | None:
        """See ``ports.Sandbox``."""
        return None if self._cpu_counter is None else read_cpu_time_ns(self._cpu_counter)

    def set_cpu_quota(self, nano_cpus: int, period_us: int) -> bool:
        """See ``ports.Sandbox``."""
        try:
            if self._cpu_quota is not None:
                self._cpu_quota.set(nano_cpus, period_us)
                return True
            why = "it cannot be seen"
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in GONE:
                return False
            why = type(error).__name__
        detail = f"the control group's CPU time cannot be set ({why}); the supervisor must be root on the host itself"
        raise ExecutionFault("limit_unenforceable", detail)

    def throttling(self) -> tuple[int, int] | None:
        """See ``ports.Sandbox``."""
        return None if self._cpu_quota is None else self._cpu_quota.read_throttling()


def _nice_hint(error: OSError) -> str:
    # sched_setaffinity(2): the threads of another user.
    is_forbidden = isinstance(error, PermissionError)
    return "; the supervisor needs CAP_SYS_NICE (in a container: --cap-add SYS_NICE)" if is_forbidden else ""


def _unplaced(why: str) -> ExecutionFault:
    detail = f"the control group's CPUs cannot be set ({why}); the supervisor must be root on the host itself"
    return ExecutionFault("limit_unenforceable", detail)


def _unseen(error: Exception) -> ExecutionFault:
    _log.error("a sandbox of gVisor's cannot be looked into: %s", error)
    detail = "the job was not sent: gVisor's kernel cannot be asked; the supervisor must be root on the host itself"
    return ExecutionFault("lock_missing", detail)
