"""The ports to the sandboxes and the model store: what an adapter must provide, and which errors it raises."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.execution.execution_plan import PlannedModel
from supervisor.domain.sandbox.isolation import RegisteredRuntime
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
    """How a container ended by itself."""

    exit_code: int
    oom_killed: bool


class Sandbox(Protocol):
    """One running container, prepared for one execution."""

    container_id: str
    image_id: str
    started_ns: int
    """When it had started, on the monotonic clock."""
    exit_status: ExitStatus | None

    async def send(self, line: bytes) -> None:
        """Write one line to the runner.

        Raises:
            ExecutionFault: ``runner_failed``, the runner has gone.
        """
        ...

    async def receive(self) -> tuple[bytes, int]:
        """Return the runner's next line without its newline, and its arrival on the monotonic clock in ns.

        Raises:
            ExecutionFault: ``runner_failed`` or ``memory_limit_exceeded`` where the runner ended,
                ``output_limit_exceeded`` where it wrote too much.
        """
        ...

    async def listen(self, take: Callable[[bytes, int], bool]) -> None:
        """Hand on each of the runner's lines where it arrives, until one is taken as the last; raises as `receive`.

        Args:
            take: called with every line and its arrival, as `receive` returns them; says whether it was the last. What
                it raises ends the listening.
        """
        ...

    async def watch_guest(self) -> None:
        """Have gVisor's kernel report from now on what `observe` then tells of; only in tier `gvisor`.

        Raises:
            ExecutionFault: ``lock_missing``, it cannot be asked.
        """
        ...

    async def observe(self, model_path: str, watched: tuple[str, ...]) -> SandboxFacts:
        """Return what can be seen of the container from outside.

        Args:
            model_path: where the container has the model.
            watched: paths that should be hidden or read-only in it.

        Raises:
            ExecutionFault: ``isolation_mismatch``, the kernel's words are not understood, or ``lock_missing``, gVisor's
                kernel cannot be asked.
        """
        ...

    def thread_statuses(self) -> tuple[ThreadStatus, ...]:
        """Return what the kernel says of every thread in the container; empty where none can be seen.

        Raises:
            ExecutionFault: ``lock_missing``, the kernel does not say enough.
        """
        ...

    def refresh(self, facts: SandboxFacts) -> SandboxFacts:
        """Return facts with what a lease changes looked at anew: its threads, their CPUs, its quota.

        Raises:
            ExecutionFault: ``lock_missing``, the kernel does not say enough.
        """
        ...

    def allow_output(self, output_bytes: int) -> None:
        """Set how much the runner may write in all."""
        ...

    def place(self, cpus: frozenset[int], *, in_background: bool) -> None:
        """Let it run on these logical CPUs; in the background whatever else wants them comes first.

        Raises:
            ExecutionFault: ``limit_unenforceable``, that cannot be set from here.
        """
        ...

    def spread(self, cores: tuple[tuple[int, ...], ...]) -> None:
        """Keep each computing thread on a core of its own, until `place` is called again.

        Left to itself the kernel now and then lets two of them take turns on one CPU, each waiting for the other. Where
        there are not as many threads as cores, it is not known which of them compute, and nothing is changed.

        Args:
            cores: the logical CPUs of each.
        """
        ...

    def freeze(self) -> None:
        """Stop all of it where it is; raises as `place` does."""
        ...

    def thaw(self) -> None:
        """Let it go on; raises as `place` does."""
        ...

    def cpu_time_ns(self) -> int | None:
        """Return the container's CPU time so far, or None where it cannot be read."""
        ...

    def set_cpu_quota(self, nano_cpus: int, period_us: int) -> bool:
        """Give the container so much CPU time per second, in nanoseconds, a part of it in every period.

        Returns:
            False where the container has ended, which `receive` will tell.

        Raises:
            ExecutionFault: ``limit_unenforceable``, it cannot be set from here.
        """
        ...

    def throttling(self) -> tuple[int, int] | None:
        """Return for how long the kernel held the container back, in ns, and in how many periods; None: not known."""
        ...


class SandboxPort(Protocol):
    """Whatever makes containers."""

    cgroup_driver: str
    """How the engine names control groups: `cgroupfs` or `systemd`."""

    async def require_image(self, image_id: str) -> None:
        """Make sure that an image is there.

        Raises:
            Refusal: ``image_missing``, or ``engine_unavailable``.
        """
        ...

    async def runtimes(self) -> Mapping[str, RegisteredRuntime]:
        """Return the runtimes that are registered, by name.

        Raises:
            Refusal: ``engine_unavailable``.
        """
        ...

    def open(self, name: str, config: dict[str, Any], *, output_bytes: int) -> AbstractAsyncContextManager[Sandbox]:
        """Start a fresh container; leaving the context ends it, whatever happened.

        When the context has been left nothing in the container runs any more; it is removed beside what follows, and
        that is tried until it is gone.

        Args:
            name: the container's, never used before.
            config: body of the engine's create call.
            output_bytes: what the runner may write until `Sandbox.allow_output` says otherwise.

        Raises:
            ExecutionFault: ``engine_unavailable``, ``image_missing`` or ``sandbox_failed``.
        """
        ...

    async def is_up(self) -> bool:
        """Tell whether the container engine answers."""
        ...

    async def reap(self) -> int:
        """Destroy this home's containers that belong to no execution under way; return how many."""
        ...


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """A model file: its directory on the host, and what the file system said of it when it was hashed."""

    directory: str
    file: FileFacts


class ModelStorePort(Protocol):
    """Where model files lie."""

    def locate(self, model: PlannedModel) -> LocatedModel:
        """Return the file to mount, after making sure that the file is the one that was installed.

        Raises:
            Refusal: ``model_missing`` or ``model_altered``.
        """
        ...
