"""The ports to the sandboxes and the model store: what an adapter must provide, and the errors it raises."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.execution.execution_plan import PlannedModel
from supervisor.domain.sandbox.isolation import RegisteredRuntime
from supervisor.domain.sandbox.lock_content import FilterChain
from supervisor.domain.sandbox.locks import ThreadStatus
from supervisor.domain.sandbox.receipt import FileFacts, SandboxFacts

__all__ = [
    "ExitStatus",
    "LocatedModel",
    "ModelStorePort",
    "Sandbox",
    "SandboxPort",
]


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a container ended, if it ended by itself."""

    exit_code: int
    oom_killed: bool


class Sandbox(Protocol):
    """One running container, prepared for one execution."""

    container_id: str
    image_id: str
    started_ns: int
    """Monotonic time at which it had started."""
    exit_status: ExitStatus | None

    async def send(self, line: bytes) -> None:
        """Write one line to the runner.

        Raises:
            ExecutionFault: as `receive` raises if the runner has ended.
        """
        ...

    async def receive(self) -> tuple[bytes, int]:
        """Return the runner's next line without its newline, and its arrival as monotonic time in ns.

        Raises:
            ExecutionFault: as `ending.fault_of_end` says if the runner ended, ``output_limit_exceeded`` if it wrote too
                much.
        """
        ...

    async def listen(self, take: Callable[[bytes, int], bool]) -> None:
        """Pass each of the runner's lines to ``take`` on arrival, until ``take`` returns True; raises as `receive`.

        Args:
            take: called with every line and its arrival, as `receive` returns them; returns whether the line was the
                last. An exception that it raises ends the listening.
        """
        ...

    async def watch_guest(self) -> None:
        """Make gVisor's kernel report from now on, so that `observe` can return its reports; only in tier `gvisor`.

        Raises:
            ExecutionFault: ``lock_missing`` if gVisor's kernel cannot be asked.
        """
        ...

    async def observe(self, model_path: str, watched: tuple[str, ...]) -> SandboxFacts:
        """Return the facts about the container that can be seen from outside.

        Args:
            model_path: path of the model in the container.
            watched: paths that should be hidden or read-only in the container.

        Raises:
            ExecutionFault: ``isolation_mismatch`` if the kernel's answer is not understood, ``lock_missing`` if
                gVisor's kernel cannot be asked.
        """
        ...

    def thread_statuses(self) -> tuple[ThreadStatus, ...]:
        """Return the kernel's status of every thread in the container; empty if no thread can be seen.

        Raises:
            ExecutionFault: ``lock_missing`` if the kernel's status is incomplete.
        """
        ...

    async def read_filters(self) -> tuple[FilterChain, ...] | None:
        """Return the system call filters of every thread in the container; only in tier `hardened`.

        None: the kernel hands out no filter to this supervisor, which lacks SYS_ADMIN or is under a filter of its own.

        Raises:
            ExecutionFault: ``lock_missing`` if the kernel does not hand them out, as while the container is frozen.
        """
        ...

    def refresh(self, facts: SandboxFacts) -> SandboxFacts:
        """Return the facts with the parts read again that a lease changes: threads, their CPUs, CPU quota.

        Raises:
            ExecutionFault: ``lock_missing`` if the kernel's status is incomplete.
        """
        ...

    def allow_output(self, output_bytes: int) -> None:
        """Set the total number of bytes that the runner may write."""
        ...

    def place(self, cpus: frozenset[int], *, in_background: bool) -> None:
        """Let the container run on these logical CPUs; in the background, all other work on them takes precedence.

        Raises:
            ExecutionFault: ``limit_unenforceable`` if the supervisor cannot set this.
        """
        ...

    def spread(self, cores: tuple[tuple[int, ...], ...]) -> None:
        """Keep each computing thread on a core of its own, until `place` is called again.

        When the kernel places them, two threads sometimes take turns on one CPU, each waiting for the other. If the
        number of threads differs from that of cores, it is not known which threads compute, and nothing is changed.

        Args:
            cores: the logical CPUs of each core.
        """
        ...

    def freeze(self) -> None:
        """Suspend all processes of the container; raises as `place` does."""
        ...

    def thaw(self) -> None:
        """Resume all processes of the container; raises as `place` does."""
        ...

    def cpu_time_ns(self) -> int | None:
        """Return the container's CPU time so far, or None if it cannot be read."""
        ...

    def set_cpu_quota(self, nano_cpus: int, period_us: int) -> bool:
        """Set the container's CPU time.

        Args:
            nano_cpus: CPU time per second, in nanoseconds.
            period_us: length of the periods in which the kernel hands it out.

        Returns:
            False if the container has ended, which `receive` will report.

        Raises:
            ExecutionFault: ``limit_unenforceable`` if the supervisor cannot set it.
        """
        ...

    def throttling(self) -> tuple[int, int] | None:
        """Return how long the kernel throttled the container, in ns, and in how many periods; None means unknown."""
        ...


class SandboxPort(Protocol):
    """The container engine, which creates the sandboxes."""

    cgroup_driver: str
    """How the container engine names control groups: `cgroupfs` or `systemd`."""

    async def require_image(self, image_id: str) -> None:
        """Raise unless an image exists.

        Raises:
            Refusal: ``image_missing``, or ``engine_unavailable``.
        """
        ...

    async def runtimes(self) -> Mapping[str, RegisteredRuntime]:
        """Return the registered runtimes by name.

        Raises:
            Refusal: ``engine_unavailable``.
        """
        ...

    def open(
        self, name: str, config: dict[str, Any], *, model: str, output_bytes: int
    ) -> AbstractAsyncContextManager[Sandbox]:
        """Start a fresh container; leaving the context always ends it.

        Once the context has been left, nothing in the container runs any more. The container is removed in the
        background, and the removal is repeated until it succeeds.

        Args:
            name: name of the container, never used before.
            config: body of the container engine's create call.
            model: name of the model, for the reason if the runner ends too early.
            output_bytes: bytes that the runner may write until `Sandbox.allow_output` sets another limit.

        Raises:
            ExecutionFault: ``engine_unavailable``, ``image_missing`` or ``sandbox_failed``.
        """
        ...

    async def is_up(self) -> bool:
        """Return whether the container engine answers."""
        ...

    async def reap(self) -> int:
        """Destroy this home's containers that belong to no running execution, and return their number."""
        ...


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """A model file: its directory on the host, and the file system's facts about it at the time it was hashed."""

    directory: str
    file: FileFacts


class ModelStorePort(Protocol):
    """The store of model files."""

    def locate(self, model: PlannedModel) -> LocatedModel:
        """Return the file to mount, after checking that it is unchanged since it was installed.

        Raises:
            Refusal: ``model_missing`` or ``model_altered``.
        """
        ...

    def hold(self, model: PlannedModel) -> AbstractContextManager[LocatedModel]:
        """Return the file to mount as `locate` does, and keep it while the block runs, even if the model is removed.

        Raises:
            Refusal: ``model_missing`` or ``model_altered``.
        """
        ...

    def is_unchanged(self, model: LocatedModel) -> bool:
        """Return whether a file is still what `locate` returned; any write to it since then has changed it."""
        ...
